package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
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
  void ungroupsGroupedQueries() throws IOException {
    Path llama = folder.resolve("llama.json");
    Files.writeString(
        llama,
        """
        {"model_type": "llama", "num_hidden_layers": 5, "hidden_size": 64, "vocab_size": 512,
         "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 172,
         "max_position_embeddings": 512, "rms_norm_eps": 1e-05, "hidden_act": "silu"}
        """);
    CommandRun grouped = CommandRun.of("graph", llama);
    assertThat(grouped.out())
        .contains("5 layers, 8 heads, 4 key/value heads, d_model 64")
        .contains("edges           1,701")
        .contains("A4.1.K (kv 1: heads 2, 3)");
    assertThat(CommandRun.of("graph", llama, "--list").out())
        .contains("MLP 0->A4.1.K" + System.lineSeparator())
        .doesNotContain("kv");
    for (String more : List.of("--positions=3", "--separate-qkv")) {
      CommandRun ungrouped = CommandRun.of("graph", llama, "--ungroup", more);
      assertThat(ungrouped.err()).isEmpty();
      assertThat(ungrouped.out()).contains("2,461").doesNotContain("kv");
    }
    Files.writeString(
        llama,
        Files.readString(llama)
            .replace("\"num_key_value_heads\": 4", "\"num_key_value_heads\": 1"));
    assertThat(CommandRun.of("graph", llama).out()).contains("8 heads, 1 key/value head, d_model");
  }

  @Test
  void refusesToUngroupWhatIsNotGrouped() {
    CommandRun none = CommandRun.of("graph", config, "--ungroup");
    assertThat(none.code()).isEqualTo(Main.USAGE);
    assertThat(none.err())
        .startsWith(
            "autocircuit: --ungroup: each of the model's 12 query heads has keys and values of its"
                + " own; there is nothing to ungroup;");
    for (String command : List.of("graph", "run", "discover")) {
      for (String other : List.of("--joint", "--residual")) {
        // Before anything is read: there is no such model.
        List<Object> arguments = new ArrayList<>(List.of(command, "--ungroup", other));
        arguments.addAll(
            switch (command) {
              case "graph" -> List.of(folder.resolve("gone"));
              case "run" -> List.of("--model", folder.resolve("gone"), "--prompt", "Mary");
              default -> List.of("--model", folder.resolve("gone"), "--prompts", config);
            });
        CommandRun run = CommandRun.of(arguments.toArray());
        assertThat(run.code()).isEqualTo(Main.USAGE);
        assertThat(run.err()).contains("--ungroup has no effect with " + other).hasLineCount(1);
      }
    }
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
