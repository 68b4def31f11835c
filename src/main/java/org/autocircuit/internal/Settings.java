package org.autocircuit.internal;

import java.util.HashSet;
import java.util.Set;

/**
 * Which settings of a builder were made, for calls that refuse those they would ignore. Not safe
 * for use by several threads while it changes.
 */
public final class Settings {

  private final Set<String> made = new HashSet<>();

  /** Notes that a setting was made. */
  public void made(String name) {
    made.add(name);
  }

  /** Those made so far; later ones do not reach the copy. */
  public Settings copy() {
    Settings copy = new Settings();
    copy.made.addAll(made);
    return copy;
  }

  /**
   * Refuses settings that have no effect.
   *
   * @param instead what is there in their place
   * @throws IllegalArgumentException if one of them was made, naming it
   */
  public void refuse(String instead, String... names) {
    for (String name : names) {
      if (made.contains(name)) {
        throw new IllegalArgumentException(
            "%s: expected none in the settings, since %s".formatted(name, instead));
      }
    }
  }
}
