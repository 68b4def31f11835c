package org.autocircuit.internal;

/**
 * The numbers under which enum constants cross to native code: their places in the declaration,
 * which are those of {@code bridge.h}.
 */
public final class NativeCodes {

  private NativeCodes() {}

  /** The number of a constant. */
  @SuppressWarnings("EnumOrdinal") // bridge.h counts so, and a test holds the order
  public static int of(Enum<?> constant) {
    return constant.ordinal();
  }
}
