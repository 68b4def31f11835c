package org.autocircuit.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.autocircuit.exception.CheckpointException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class WordLevelVocabularyTest {
  private final WordLevelVocabulary vocabulary =
      new WordLevelVocabulary(List.of(".", ",", "Mary", "gave"));

  @TempDir Path folder;

  @Test
  void numbersSpecialTokensFirst() {
    assertThat(vocabulary.size()).isEqualTo(6);
    assertThat(vocabulary.tokens())
        .containsExactly("<|endoftext|>", "<|unk|>", ".", ",", "Mary", "gave");
    assertThat(vocabulary.endOfText()).isZero();
    assertThat(vocabulary.ids("Mary, gave  Mary.")).containsExactly(4, 3, 5, 4, 2);
    assertThat(vocabulary.contains("gave")).isTrue();
    assertThat(vocabulary.contains("Gave")).isFalse();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> vocabulary.ids("Mary took"))
        .withMessageContaining("\"took\"");
    assertThat(vocabulary)
        .isEqualTo(new WordLevelVocabulary(List.of(".", ",", "Mary", "gave")))
        .isNotEqualTo(new WordLevelVocabulary(List.of("Mary")));
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void theTokenizerAgrees(boolean addBos) {
    Path model = folder.resolve("new/model");
    vocabulary.write(model, addBos);
    try (Tokenizer tokenizer = Tokenizer.load(model)) {
      String text = "Mary, gave Mary.";
      assertThat(tokenizer.prependsBos()).isEqualTo(addBos);
      assertThat(tokenizer.bosId()).hasValue(0);
      assertThat(tokenizer.encode(text, false)).isEqualTo(vocabulary.ids(text));
      // Hugging Face's default encoding and ours agree on the beginning of sequence.
      assertThat(tokenizer.encodeWithSpecialTokens(text)).isEqualTo(tokenizer.encode(text));
      assertThat(tokenizer.decode(vocabulary.ids(text))).isEqualTo(text);
      assertThat(tokenizer.encode("Bob", false)).containsExactly(1);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> tokenizer.answerToken("Bob"))
          .withMessageContaining("not in the vocabulary");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"", " ", "two words", "don't", "naïve", "<|endoftext|>"})
  void refusesWhatATextNeverFallsInto(String word) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new WordLevelVocabulary(List.of(word)))
        .withMessageContaining("\"" + word + "\"");
  }

  @Test
  void refusesTwins() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new WordLevelVocabulary(List.of("a", "a")))
        .withMessageContaining("twice");
  }

  @Test
  void saysWhereItCannotWrite() throws IOException {
    Path file = Files.createFile(folder.resolve("file"));
    assertThatThrownBy(() -> vocabulary.write(file, true))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining(file.toString());
  }
}
