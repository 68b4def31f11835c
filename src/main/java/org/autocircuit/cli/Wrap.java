package org.autocircuit.cli;

/** Breaks text into lines. */
final class Wrap {

  private Wrap() {}

  /** Lines of at most {@code width} characters, broken at blanks. */
  static String lines(String text, int width) {
    StringBuilder lines = new StringBuilder();
    int column = 0;
    for (String word : text.split(" ", -1)) {
      if (column > 0 && column + 1 + word.length() > width) {
        lines.append(System.lineSeparator());
        column = 0;
      } else if (column > 0) {
        lines.append(' ');
        column++;
      }
      lines.append(word);
      column += word.length();
    }
    return lines.toString();
  }
}
