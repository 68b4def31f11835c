package org.autocircuit.document;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A page in Markdown.
 *
 * @param path from the project's root
 * @param text all of it
 */
record Document(Path path, String text) {

  /** Stands before a block of code and names the file that has these lines. */
  private static final Pattern QUOTE =
      Pattern.compile("<!-- from (\\S+) -->\\s*```\\w*\n(.*?)\n```", Pattern.DOTALL);

  /** Stands before a block of text and names the program that prints it, with its arguments. */
  private static final Pattern OUTPUT =
      Pattern.compile(
          "<!-- printed by src/test/java/(\\S+)\\.java((?: \\S+)*) -->\\s*```\\w*\n(.*?)\n```",
          Pattern.DOTALL);

  private static final Pattern BLOCK = Pattern.compile("```.*?\n```", Pattern.DOTALL);
  private static final Pattern LINK = Pattern.compile("!?\\[[^\\]]*\\]\\(([^)\\s]+)\\)");
  private static final Pattern CODE = Pattern.compile("`([^`\n]+)`");
  private static final Pattern ANCHOR = Pattern.compile("<a id=\"([^\"]+)\">");

  /** A block of code and the file that it is said to stand in. */
  record Quote(Path file, String code) {}

  /**
   * A block of text that a program prints.
   *
   * @param program name of its class
   * @param arguments files in a folder of the test's own, those with a slash in the project
   * @param text all that it prints
   */
  record Output(String program, List<String> arguments, String text) {}

  static List<Document> all() {
    try (Stream<Path> pages = Files.list(Path.of("src/site/markdown"))) {
      List<Document> documents = new ArrayList<>();
      documents.add(read(Path.of("README.md")));
      pages
          .filter(page -> page.toString().endsWith(".md"))
          .sorted()
          .forEach(page -> documents.add(read(page)));
      return documents;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static Document read(Path path) {
    try {
      return new Document(path, Files.readString(path));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Targets of links to other files of the project, as they are written. */
  List<String> relativeLinks() {
    return groups(LINK, text).stream()
        .filter(target -> !target.matches("(https?|mailto):.*"))
        .toList();
  }

  /** Anchors that the page sets itself; those of headings differ from one renderer to another. */
  List<String> anchors() {
    return groups(ANCHOR, text);
  }

  /** Pieces of code within sentences and tables. */
  List<String> code() {
    return groups(CODE, BLOCK.matcher(text).replaceAll(""));
  }

  /** Blocks of code, with their fences. */
  List<String> blocks() {
    return BLOCK.matcher(text).results().map(MatchResult::group).toList();
  }

  List<Quote> quotes() {
    List<Quote> quotes = new ArrayList<>();
    Matcher matcher = QUOTE.matcher(text);
    while (matcher.find()) {
      quotes.add(new Quote(Path.of(matcher.group(1)), matcher.group(2)));
    }
    return quotes;
  }

  List<Output> outputs() {
    return OUTPUT
        .matcher(text)
        .results()
        .map(
            match ->
                new Output(
                    match.group(1).replace('/', '.'),
                    match.group(2).isBlank()
                        ? List.of()
                        : List.of(match.group(2).strip().split(" ")),
                    match.group(3)))
        .toList();
  }

  private static List<String> groups(Pattern pattern, String text) {
    return pattern.matcher(text).results().map(match -> match.group(1)).toList();
  }
}
