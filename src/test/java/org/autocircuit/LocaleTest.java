package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/**
 * No number is formatted with the digits of the user's language, be it for a machine or a person:
 * {@code %s} prints an integer in any locale's stead, and all else names {@code Locale.ROOT}.
 */
class LocaleTest {

  private static final Path SOURCES = Path.of("src/main/java");
  private static final Pattern COMMENT = Pattern.compile("/\\*.*?\\*/|//[^\n]*", Pattern.DOTALL);

  /** Conversions of numbers, and of case, that follow the user's language. */
  private static final List<Pattern> LOCAL =
      List.of(
          Pattern.compile(
              "%(\\d+\\$)?[-,+ 0#(]*\\d*(\\.\\d+)?[dfeExXg][^\"\n]*\""
                  + "(\\s*\\+\\s*\"[^\"\n]*\")*[\\s)]*\\.formatted\\("),
          Pattern.compile("String\\.format\\(\\s*\"[^\"\n]*%[-,+0-9.]*[dfeExXg]"),
          Pattern.compile("\\.printf\\(\\s*\"[^\"\n]*%[-,+0-9.]*[dfeExXg]"),
          Pattern.compile("\\.to(Lower|Upper)Case\\(\\)"));

  @Test
  void numbersHaveTheSameDigitsInEveryLanguage() throws IOException {
    try (Stream<Path> files = Files.walk(SOURCES)) {
      List<Path> java = files.filter(file -> file.toString().endsWith(".java")).toList();
      assertThat(java).hasSizeGreaterThan(100);
      assertThat(java.stream().flatMap(LocaleTest::found).collect(Collectors.toList())).isEmpty();
    }
  }

  @Test
  void theSearchFindsWhatItIsFor() {
    assertThat(local("\"%d of %s\".formatted(1, 2)")).isTrue();
    assertThat(local("(\"%,d\"\n + \" of 1\")\n .formatted(1)")).isTrue();
    assertThat(local("(\"x\" + \"%.1f of\")\n    .formatted(1)")).isTrue();
    assertThat(local("out.printf(\"%3d\", 1)")).isTrue();
    assertThat(local("name.toLowerCase()")).isTrue();
    assertThat(local("String.format(Locale.ROOT, \"%d\", 1)")).isFalse();
    assertThat(local("\"%s of %s\".formatted(1, 2)")).isFalse();
  }

  private static Stream<String> found(Path file) {
    try {
      String code = COMMENT.matcher(Files.readString(file)).replaceAll("");
      return LOCAL.stream()
          .flatMap(pattern -> pattern.matcher(code).results())
          .map(match -> file + ": " + match.group());
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  private static boolean local(String code) {
    return LOCAL.stream().anyMatch(pattern -> pattern.matcher(code).find());
  }
}
