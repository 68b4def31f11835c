package org.autocircuit.internal;

import java.util.Locale;

/** Numbers as people read them, the same in every country. */
public final class Figures {

  private Figures() {}

  /** Counts things: {@code 1 edge}, {@code 1,200 edges}. */
  public static String count(long number, String thing) {
    return String.format(Locale.ROOT, "%,d %s%s", number, thing, number == 1 ? "" : "s");
  }

  /** A number with so many decimals, and no minus before a zero. */
  public static String fixed(double value, int decimals) {
    String text = String.format(Locale.ROOT, "%." + decimals + "f", value);
    return text.matches("-[0.]+") ? text.substring(1) : text;
  }

  /** A share in per cent, with so many decimals. */
  public static String percent(double share, int decimals) {
    return fixed(100 * share, decimals) + " %";
  }

  /** The text of a number, or a dash where there is no number. */
  public static String orDash(double value, String text) {
    return Double.isFinite(value) ? text : "-";
  }
}
