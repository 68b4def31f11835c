package org.autocircuit.document;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/**
 * Programs print what the documents show, and draw the pictures that they show. Numbers may differ
 * a little, since processors round differently.
 */
class TutorialsTest {

  private static final Path IMAGES = Path.of("src/site/resources/images");
  private static final Pattern NUMBER =
      Pattern.compile("(?<![\\w.])-?\\d+(?:,\\d{3})*(?:\\.\\d+)?(?:E-?\\d+)?");

  /** Of the greater of both, and in what they are apart at least. */
  private static final double SHARE = 0.02;

  private static final double APART = 0.02;

  @TempDir private Path folder;

  @TestFactory
  Stream<DynamicTest> programsPrintAndDrawWhatTheDocumentsShow() {
    return Document.all().stream()
        .flatMap(
            document ->
                document.outputs().stream()
                    .map(
                        output ->
                            DynamicTest.dynamicTest(
                                document.path().getFileName() + " " + output.program(),
                                () -> compare(output))));
  }

  private void compare(Document.Output output) throws Exception {
    String[] arguments =
        output.arguments().stream()
            .map(name -> name.contains("/") ? name : folder.resolve(name).toString())
            .toArray(String[]::new);
    PrintStream console = System.out;
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
    try {
      Class.forName(output.program())
          .getMethod("main", String[].class)
          .invoke(null, (Object) arguments);
    } finally {
      System.setOut(console);
    }
    assertSimilar(printed.toString(StandardCharsets.UTF_8).strip(), output.text());
    for (String name : output.arguments()) {
      if (name.endsWith(".svg")) {
        assertSimilar(
            Files.readString(folder.resolve(name)), Files.readString(IMAGES.resolve(name)));
      }
    }
  }

  private static void assertSimilar(String actual, String shown) {
    if (!similar(actual, shown)) {
      assertThat(actual).isEqualTo(shown);
    }
  }

  /** Says whether texts differ in nothing but numbers, and these by little. */
  private static boolean similar(String actual, String shown) {
    if (!NUMBER.matcher(actual).replaceAll("#").equals(NUMBER.matcher(shown).replaceAll("#"))) {
      return false;
    }
    List<Double> numbers = numbers(actual);
    List<Double> expected = numbers(shown);
    for (int i = 0; i < numbers.size(); i++) {
      double limit = Math.max(APART, SHARE * Math.abs(expected.get(i)));
      if (Math.abs(numbers.get(i) - expected.get(i)) > limit) {
        return false;
      }
    }
    return true;
  }

  private static List<Double> numbers(String text) {
    return NUMBER
        .matcher(text)
        .results()
        .map(number -> Double.valueOf(number.group().replace(",", "")))
        .toList();
  }

  @Test
  void numbersMayDifferByLittleAndWordsNot() {
    assertThat(similar("A3.0: 2.37 of 1,519", "A3.0: 2.38 of 1,519")).isTrue();
    assertThat(similar("A3.0: 2.37", "A3.0: 2.47")).isFalse();
    assertThat(similar("A3.0: 2.37", "A3.1: 2.37")).isFalse();
    assertThat(similar("A3.0: 2.37", "MLP 3: 2.37")).isFalse();
    assertThat(similar("1,519 edges", "1,600 edges")).isFalse();
  }
}
