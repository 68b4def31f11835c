package org.autocircuit.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.autocircuit.exception.PromptDatasetException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class PromptDatasetTest {
  private static final String TWO =
      """
      {"seq_labels": ["a", "b"], "word_idxs": {"end": 1, "begin": 0}, "note": "ignored",
       "prompts": [
         {"clean": "c d", "corrupt": "e d", "answers": [" x", " ü"], "wrong_answers": [" y"]},
         {"clean": "f g", "corrupt": "h g", "answers": [" x"], "wrong_answers": []}]}
      """;

  @TempDir Path folder;

  private Path file(String text) throws IOException {
    return Files.writeString(folder.resolve("prompts.json"), text);
  }

  @Test
  void readsTheOriginalsFormat() throws IOException {
    PromptDataset dataset = PromptDataset.read(file(TWO));
    assertThat(dataset.seqLabels()).containsExactly("a", "b");
    assertThat(dataset.wordIdxs()).containsExactly(Map.entry("end", 1), Map.entry("begin", 0));
    assertThat(dataset.prompts())
        .containsExactly(
            new PromptPair("c d", "e d", List.of(" x", " ü"), List.of(" y")),
            new PromptPair("f g", "h g", List.of(" x"), List.of()));
    assertThat(dataset.size()).isEqualTo(2);
    assertThat(dataset.slice(1, 2).prompts()).containsExactly(dataset.prompts().get(1));
    assertThat(dataset.slice(0, 1).seqLabels()).isEqualTo(dataset.seqLabels());
    assertThatExceptionOfType(IndexOutOfBoundsException.class)
        .isThrownBy(() -> dataset.slice(1, 9))
        .withMessageContaining("[1, 9)")
        .withMessageContaining("length 2");
    assertThatExceptionOfType(IndexOutOfBoundsException.class)
        .isThrownBy(() -> dataset.slice(2, 1));
  }

  @Test
  void writesWhatItReads() throws IOException {
    PromptDataset dataset = PromptDataset.read(file(TWO));
    Path written = folder.resolve("written.json");
    dataset.write(written);
    assertThat(PromptDataset.read(written)).isEqualTo(dataset);
    PromptDataset plain = new PromptDataset(dataset.prompts());
    plain.write(written);
    assertThat(written).content().doesNotContain("seq_labels").doesNotContain("word_idxs");
    assertThat(PromptDataset.read(written)).isEqualTo(plain);
    assertThatThrownBy(() -> plain.write(folder.resolve("no/such")))
        .isInstanceOf(PromptDatasetException.class)
        .hasMessageContaining("cannot be written");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "[] | the document is an empty array",
        "{} | prompts is missing",
        "{'prompts': []} | prompts is an empty array",
        "{'prompts': {}} | prompts is an object",
        "{'prompts': [7]} | prompts[0] is 7",
        "{'prompts': [OK, {}]} | prompts[1].answers is missing",
        "{'prompts': [{'clean': [[1.0, 2]], 'corrupt': 'b', 'answers': ['c'], 'wrong_answers':"
            + " []}]} | prompts[0].clean is 1.0, expected a text or an array of token ids",
        "{'prompts': [{'clean': '', 'corrupt': 'b', 'answers': ['c'], 'wrong_answers': []}]} |"
            + " prompts[0].clean is \"\"",
        "{'prompts': [{'clean': 'a', 'answers': ['c'], 'wrong_answers': []}]} | prompts[0].corrupt"
            + " is missing",
        "{'prompts': [{'clean': 'a', 'corrupt': 'b', 'answers': [], 'wrong_answers': []}]} |"
            + " prompts[0].answers is an empty array",
        "{'prompts': [{'clean': 'a', 'corrupt': 'b', 'answers': 'c', 'wrong_answers': []}]} |"
            + " prompts[0].answers is \"c\"",
        "{'prompts': [{'clean': 'a', 'corrupt': 'b', 'answers': [-1], 'wrong_answers': []}]} |"
            + " prompts[0].answers[0] is -1, expected a text, a token id or {",
        "{'prompts': [{'clean': 'a', 'corrupt': 'b', 'answers': ['c']}]} | prompts[0].wrong_answers"
            + " is missing",
        "{'prompts': [{'clean': 'a', 'corrupt': 'b', 'answers': ['c'], 'wrong_answers': ['d',"
            + " null]}]} | prompts[0].wrong_answers[1] is null",
        "{'prompts': [OK], 'seq_labels': 'x'} | seq_labels is \"x\"",
        "{'prompts': [OK], 'seq_labels': [1]} | seq_labels[0] is 1",
        "{'prompts': [OK], 'word_idxs': [1]} | word_idxs is an array",
        "{'prompts': [OK], 'word_idxs': {'a': -1}} | word_idxs.a is -1",
        "{'prompts': [OK], 'word_idxs': {'a': 1.5}} | word_idxs.a is 1.5",
        "{'prompts': [OK], 'word_idxs': {'a': 99999999999}} | word_idxs.a is 99999999999",
        "{'prompts': [OK], 'prompts': [OK]} | not valid JSON at line 1, column 95: Duplicate",
        "{'prompts': [OK]} x | not valid JSON",
        "{'prompts': [OK | not valid JSON",
      })
  void namesFileAndPlace(String text, String part) throws IOException {
    String pair = "{'clean': 'a', 'corrupt': 'b', 'answers': ['c'], 'wrong_answers': []}";
    Path file = file(text.replace("OK", pair).replace('\'', '"'));
    assertThatThrownBy(() -> PromptDataset.read(file))
        .isInstanceOf(PromptDatasetException.class)
        .hasMessageContaining(file.toString())
        .hasMessageContaining(part);
  }

  @ParameterizedTest
  @ValueSource(strings = {"", " ", "null", "7", "\"a\"", "\u0000"})
  void refusesWhatIsNoObject(String text) throws IOException {
    Path file = file(text);
    assertThatThrownBy(() -> PromptDataset.read(file))
        .isInstanceOf(PromptDatasetException.class)
        .hasMessageContaining(file.toString());
  }

  @Test
  void refusesDeepNestingAndMissingFiles() throws IOException {
    Path nested = file("{\"prompts\":" + "[".repeat(100_000));
    assertThatThrownBy(() -> PromptDataset.read(nested)).isInstanceOf(PromptDatasetException.class);
    assertThatThrownBy(() -> PromptDataset.read(folder.resolve("none")))
        .isInstanceOf(PromptDatasetException.class)
        .hasMessageContaining("no such file");
  }

  @Test
  void anyDamageGivesADatasetOrItsException() throws IOException {
    SplittableRandom random = new SplittableRandom(5);
    byte[] whole = TWO.getBytes(StandardCharsets.UTF_8);
    for (int round = 0; round < 1000; round++) {
      byte[] bytes = whole.clone();
      for (int change = 0; change < 1 + random.nextInt(3); change++) {
        bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
      }
      Path file = Files.write(folder.resolve("prompts.json"), bytes);
      try {
        assertThat(PromptDataset.read(file).size()).isPositive();
      } catch (PromptDatasetException e) {
        assertThat(e).hasMessageContaining(file.toString());
      }
    }
  }

  @Test
  void checksWhatIsBuiltInMemory() {
    assertThatIllegalArgumentException().isThrownBy(() -> new PromptDataset(List.of()));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new PromptPair("a", "b", List.of(), List.of()))
        .withMessageContaining("no answer");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new PromptPair("", "b", List.of("c"), List.of()));
    List<PromptPair> pairs = List.of(new PromptPair("a", "b", List.of("c"), List.of()));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new PromptDataset(List.of(), Map.of("x", -1), pairs))
        .withMessageContaining("x");
  }
}
