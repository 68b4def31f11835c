package org.autocircuit.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import com.fasterxml.jackson.core.JsonProcessingException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class StrictJsonTest {

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{\"a\": ", "{\"a\":1", "{\"a\":\"abc", "{\"a\": NaN}", "{a: 1}", "{\"a\":1,}", "{} x",
        "{}{", "{\"a\":01}", "{\"a\":\"\t\"}", "{\"a\":tru}", "{\"a\":+1}", "/*x*/{}", "]"
      })
  void saysWhatIsWrongWithoutTheNamesOfTheParsersSettings(String json) {
    assertThat(problem(json))
        .startsWith("not valid JSON at line 1, column ")
        .doesNotContain("`", "Source", "REDACTED", "Feature", "com.fasterxml", "START_OBJECT");
  }

  @Test
  void saysThatLimitsAreExceeded() {
    assertThat(problem("[".repeat(1100)))
        .startsWith("not valid JSON")
        .contains("nesting depth (", ") exceeds the maximum allowed ("); // the parser's digits
    assertThat(problem("{\"a\":" + "1".repeat(1100) + "}")).contains("the maximum allowed (");
  }

  @Test
  void saysThatADocumentIsCutOff() {
    assertThat(problem("{\n\"a\": [1,")).contains("at line 2, column 9: it ends too early");
    assertThat(problem("{\"a\":1 \"b\":2}"))
        .endsWith("was expecting comma to separate Object entries");
  }

  private static String problem(String json) {
    return StrictJson.notValid(
        catchThrowableOfType(
            JsonProcessingException.class, () -> StrictJson.MAPPER.readTree(json)));
  }
}
