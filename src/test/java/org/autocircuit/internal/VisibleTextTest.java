package org.autocircuit.internal;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class VisibleTextTest {

  @ParameterizedTest
  @ValueSource(
      strings = {"", " Mary", "▁there", "naïve 日本語 العربية हिन्दी 👍🏽", "a\\b", "C:\\new"})
  void plainTextStaysAsItIs(String text) {
    assertThat(VisibleText.of(text)).isSameAs(text);
  }

  @Test
  void whatATerminalObeysIsEscaped() {
    assertThat(VisibleText.of("\u001b[31mred\u0007")).isEqualTo("\\u001b[31mred\\u0007");
    assertThat(VisibleText.of("\u009b31m")).isEqualTo("\\u009b31m");
    assertThat(VisibleText.of("a\r\nb\tc\u0000\u007f")).isEqualTo("a\\r\\nb\\tc\\u0000\\u007f");
  }

  @Test
  void whatDoesNotShowIsEscaped() {
    // No-break space, zero-width space, line separator, override of the direction.
    assertThat(VisibleText.of("a\u00a0b\u200bc\u2028\u202e"))
        .isEqualTo("a\\u00a0b\\u200bc\\u2028\\u202e");
    assertThat(VisibleText.of("\ud800x")).isEqualTo("\\ud800x");
    assertThat(VisibleText.of("❤\ufe0f")).isEqualTo("❤\\ufe0f");
    assertThat(VisibleText.of(Character.toString(0xE0001))).isEqualTo("\\U000e0001");
  }

  @Test
  void tokensOfDifferentTextNeverLookAlike() {
    Map<String, String> textOf = new HashMap<>();
    for (int c = 0; c < 0x3000; c++) {
      for (String text : new String[] {Character.toString(c), "e" + Character.toString(c)}) {
        String other = textOf.put(Normalized.of(VisibleText.ofToken(text)), text);
        assertThat(other).as("'%s'", VisibleText.ofToken(text)).isNull();
      }
    }
    for (String text : new String[] {"\\n", "\n\n", "\\u001b", "\\\\", "\\\n"}) {
      assertThat(textOf.put(VisibleText.ofToken(text), text)).isNull();
    }
    assertThat(VisibleText.ofToken("a\\n")).isEqualTo("a\\\\n");
    assertThat(VisibleText.ofToken("\u0301")).isEqualTo("\\u0301");
  }

  /** Two spellings of one accented letter look alike. */
  private static final class Normalized {
    static String of(String shown) {
      return java.text.Normalizer.normalize(shown, java.text.Normalizer.Form.NFC);
    }
  }
}
