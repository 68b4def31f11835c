package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ShowGraphTest {

  private static final String GPT2_SMALL =
      """
      {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257,
       "n_positions": 1024, "activation_function": "gelu_new"}
      """;

  @TempDir private Path folder;

  private Path config;

  @BeforeEach
  void writeConfig() throws IOException {
    config = folder.resolve("config.json");
    Files.writeString(config, GPT2_SMALL);
  }

  @Test
  void printsTheSizesOfGpt2() {
    CommandRun run = CommandRun.of("graph", config);
    assertThat(run.err()).isEmpty();
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(run.out())
        .contains("12 layers, 12 heads, d_model 768, vocabulary 50,257, 124,439,808 weights")
        .contains("sources       157")
        .contains("destinations  445")
        .contains("edges           32,491")
        .contains("129,964 bytes in float32")
        .contains("Resid Start->A0.0.Q");
    assertThat(CommandRun.of("graph", folder).out()).contains("32,491");
  }

  @Test
  void otherGraphs() {
    assertThat(CommandRun.of("graph", config, "--positions", 15).out())
        .contains("487,365, 32,491 at each of 15 positions");
    assertThat(CommandRun.of("graph", config, "--joint").out()).contains("edges           11,611");
    assertThat(CommandRun.of("graph", config, "--residual").code()).isEqualTo(Main.OK);
  }

  @Test
  void listsAllNames() {
    CommandRun run = CommandRun.of("graph", config, "--joint", "--list");
    assertThat(run.out().lines().distinct())
        .hasSize(11_611)
        .contains("Resid Start->MLP 0", "A0.1->A11.3", "MLP 11->Resid End");
  }

  @Test
  void saysWhatIsWrong() throws IOException {
    CommandRun missing = CommandRun.of("graph", folder.resolve("gone"));
    assertThat(missing.code()).isEqualTo(Main.FAILURE);
    assertThat(missing.err())
        .contains("gone: no such file; nothing is downloaded: expected a model folder");
    CommandRun positions = CommandRun.of("graph", config, "--positions", 0);
    assertThat(positions.code()).isEqualTo(Main.USAGE);
    CommandRun beyond = CommandRun.of("graph", config, "--positions", 1025);
    assertThat(beyond.code()).isEqualTo(Main.USAGE);
    assertThat(beyond.err()).contains("--positions 1,025: the model takes at most 1,024 tokens");
    Files.writeString(config, GPT2_SMALL.replace("gpt2", "bert"));
    CommandRun bert = CommandRun.of("graph", config);
    assertThat(bert.code()).isEqualTo(Main.FAILURE);
    assertThat(bert.err()).contains("model_type", "bert", "gpt2");
    assertThat(bert.err().lines()).hasSize(1);
  }
}
