package org.autocircuit.cli;

import org.autocircuit.internal.VisibleText;

/** Breaks text into lines. */
final class Wrap {

  private Wrap() {}

  /** Lines of at most {@code width} characters, broken at blanks. */
  static String lines(String text, int width) {
    return lines("", text, width);
  }

  /** Lines that begin with a name and say something of it; text from outside is made visible. */
  static String fact(String name, String text) {
    return lines(String.format("%-9s", name), VisibleText.of(text), 80);
  }

  /** Lines that begin with a label, and with as many blanks from the second on. */
  static String lines(String label, String text, int width) {
    StringBuilder lines = new StringBuilder(label);
    int column = label.length();
    for (String word : text.split(" ", -1)) {
      if (column > label.length() && column + 1 + word.length() > width) {
        lines.append(System.lineSeparator()).append(" ".repeat(label.length()));
        column = label.length();
      } else if (column > label.length()) {
        lines.append(' ');
        column++;
      }
      lines.append(word);
      column += word.length();
    }
    return lines.toString();
  }
}
