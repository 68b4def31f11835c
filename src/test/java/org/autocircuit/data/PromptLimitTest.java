package org.autocircuit.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import org.autocircuit.Allocation;
import org.autocircuit.exception.PromptDatasetException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** With a limit no more of a file is read than it takes. */
class PromptLimitTest {

  private static final String LABELS = "\"seq_labels\": [\"x\"]";
  private static final String POSITIONS = "\"word_idxs\": {\"end\": 0}";

  @TempDir Path folder;

  private static String pair(int i) {
    return "{\"clean\": \"a%s\", \"corrupt\": \"b \\\"seq_labels\\\":\", \"answers\": [\"c\"], \"wrong_answers\": []}"
        .formatted(i);
  }

  private Path file(String text) throws IOException {
    return Files.writeString(folder.resolve("prompts.json"), text);
  }

  @Test
  void doesNotReadWhatIsBrokenBehindThem() throws IOException {
    Path file = file("{%s, \"prompts\": [%s, %s, {\"clean\": ".formatted(LABELS, pair(0), pair(1)));
    PromptDataset two = PromptDataset.read(file, 2);
    assertThat(two.prompts())
        .extracting(pair -> pair.clean().toString())
        .containsExactly("a0", "a1");
    assertThat(two.seqLabels()).containsExactly("x");
    assertThat(two.source()).isEqualTo(file.toString());
    assertThat(PromptDataset.read(file, 1).size()).isEqualTo(1);
    assertThatThrownBy(() -> PromptDataset.read(file, 3)).hasMessageContaining("not valid JSON");
    assertThatThrownBy(() -> PromptDataset.read(file)).hasMessageContaining("not valid JSON");
  }

  @Test
  void namesAllProblemsOfWhatIsRead() throws IOException {
    Path file =
        file(
            "{\"prompts\": [{\"clean\": 1}, %s, {\"clean\": 2}, {\"clean\": 3}]}"
                .formatted(pair(1)));
    assertThatThrownBy(() -> PromptDataset.read(file, 3))
        .isInstanceOf(PromptDatasetException.class)
        .hasMessageContainingAll("8 problems", "prompts[0].clean is 1", "prompts[2].clean is 2")
        .hasMessageNotContaining("prompts[3]");
    Path twice =
        file("{\"prompts\": [{\"clean\": \"a\", \"clean\": \"b\"}, %s]}".formatted(pair(1)));
    assertThatThrownBy(() -> PromptDataset.read(twice, 1)).hasMessageContaining("Duplicate");
  }

  @ParameterizedTest
  @ValueSource(strings = {LABELS, POSITIONS})
  void refusesLabelsThatItWouldMiss(String labels) throws IOException {
    String key = labels.substring(1, 10);
    Path file = file("{\"prompts\": [%s, %s], %s}".formatted(pair(0), pair(1), labels));
    assertThatThrownBy(() -> PromptDataset.read(file, 1))
        .isInstanceOf(PromptDatasetException.class)
        .hasMessageContaining(file + ": " + key)
        .hasMessageContaining("comes after the prompts");
    assertThat(PromptDataset.read(file, 2)).isEqualTo(PromptDataset.read(file));
    assertThat(PromptDataset.read(file, 3)).isEqualTo(PromptDataset.read(file));
    Path none = file("{\"prompts\": [%s, %s]}".formatted(pair(0), pair(1)));
    assertThat(PromptDataset.read(none, 1).size()).isEqualTo(1);
  }

  @Test
  void ofAHugeFileItReadsWhatItNeeds() throws IOException {
    Path file = file("{%s, \"prompts\": [%s, %s, ".formatted(LABELS, pair(0), pair(1)));
    try (RandomAccessFile huge = new RandomAccessFile(file.toFile(), "rw")) {
      huge.setLength(1L << 40); // a hole, which takes no place
    }
    assertThat(Allocation.of(() -> assertThat(PromptDataset.read(file, 1).size()).isEqualTo(1)))
        .isLessThan(2_000_000);
  }

  @Test
  void refusesALimitBelowOne() {
    assertThatThrownBy(() -> PromptDataset.read(folder.resolve("none"), 0))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("limit must be at least 1, got 0");
  }
}
