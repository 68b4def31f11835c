package org.autocircuit.internal;

import java.text.Normalizer;
import java.util.Locale;

/**
 * Text of unknown origin as people can read it: what a terminal would obey, hide or fold together
 * is escaped as Java writes it ({@code \n}, {@code \u001b}). Safe to use by several threads.
 */
public final class VisibleText {

  private VisibleText() {}

  /**
   * Returns a text with everything escaped that would not show: control characters (the escape
   * character of terminals among them), line breaks, blanks other than the space, characters
   * without width or that turn the direction of writing, halves of characters, and what Unicode
   * leaves unassigned or private. The rest stays as it is; text that is plain is returned itself.
   */
  public static String of(String text) {
    return escape(text, false);
  }

  /**
   * Returns a token's text so that different texts never look alike: as {@link #of}, and a
   * backslash is doubled; an accent at the beginning is escaped, and so is all beyond ASCII where
   * Unicode has another spelling of the same text.
   */
  public static String ofToken(String text) {
    return escape(text, true);
  }

  private static String escape(String text, boolean token) {
    boolean twofold = token && !Normalizer.isNormalized(text, Normalizer.Form.NFC);
    StringBuilder shown = new StringBuilder(text.length());
    for (int i = 0; i < text.length(); ) {
      int c = text.codePointAt(i);
      boolean accent = token && i == 0 && Character.getType(c) == Character.NON_SPACING_MARK;
      if (token && c == '\\') {
        shown.append("\\\\");
      } else if (hidden(c) || accent || (twofold && c >= 128)) {
        shown.append(escaped(c));
      } else {
        shown.appendCodePoint(c);
      }
      i += Character.charCount(c);
    }
    return shown.length() == text.length() ? text : shown.toString();
  }

  private static boolean hidden(int c) {
    return switch (Character.getType(c)) {
      case Character.CONTROL,
          Character.FORMAT,
          Character.LINE_SEPARATOR,
          Character.PARAGRAPH_SEPARATOR,
          Character.PRIVATE_USE,
          Character.SURROGATE,
          Character.UNASSIGNED ->
          true;
      case Character.SPACE_SEPARATOR -> c != ' ';
      default -> isVariationSelector(c);
    };
  }

  private static boolean isVariationSelector(int c) {
    return (c >= 0xFE00 && c <= 0xFE0F) || (c >= 0xE0100 && c <= 0xE01EF);
  }

  private static String escaped(int c) {
    return switch (c) {
      case '\n' -> "\\n";
      case '\r' -> "\\r";
      case '\t' -> "\\t";
      default -> String.format(Locale.ROOT, c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    };
  }
}
