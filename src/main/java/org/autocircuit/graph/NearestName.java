package org.autocircuit.graph;

import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;

/** Finds the existing name that a mistyped one was probably meant to be. */
public final class NearestName {

  private NearestName() {}

  /** The name with the smallest edit distance; of several, the one that begins most alike. */
  public static String of(String name, Collection<String> candidates) {
    return candidates.stream()
        .min(
            Comparator.<String>comparingInt(candidate -> distance(name, candidate))
                .thenComparingInt(candidate -> -commonPrefix(name, candidate))
                .thenComparing(Comparator.naturalOrder()))
        .orElseThrow();
  }

  /**
   * Refuses a name that does not exist.
   *
   * @param kind what it is the name of, for the message
   */
  public static void require(String kind, String name, Collection<String> existing) {
    if (!existing.contains(name)) {
      throw new IllegalArgumentException(
          "unknown %s '%s'; did you mean '%s'?".formatted(kind, name, of(name, existing)));
    }
  }

  /**
   * Returns how many characters must be inserted, deleted or replaced to turn one name into the
   * other.
   */
  static int distance(String a, String b) {
    int[] row = new int[b.length() + 1];
    for (int j = 0; j < row.length; j++) {
      row[j] = j;
    }
    for (int i = 1; i <= a.length(); i++) {
      int diagonal = row[0];
      row[0] = i;
      for (int j = 1; j < row.length; j++) {
        int replace = diagonal + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
        diagonal = row[j];
        row[j] = Math.min(replace, Math.min(row[j], row[j - 1]) + 1);
      }
    }
    return row[b.length()];
  }

  private static int commonPrefix(String a, String b) {
    int mismatch = Arrays.mismatch(a.toCharArray(), b.toCharArray());
    return mismatch < 0 ? a.length() : mismatch;
  }
}
