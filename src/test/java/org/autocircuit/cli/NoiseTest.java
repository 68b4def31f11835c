package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPair;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** With half of the pairs swapped the model does no more than no edge: nothing to share. */
class NoiseTest {

  private static final String WARNING = "warning: the model and the circuit of no edge differ by ";

  @TempDir private Path folder;

  private Path model;
  private Path prompts;

  @BeforeEach
  void swapPairs() throws IOException {
    model = TinyModel.write(folder.resolve("tiny"));
    prompts = folder.resolve("swapped.json");
    List<PromptPair> pairs = new ArrayList<>();
    for (PromptPair pair : TinyModel.prompts().prompts()) {
      pairs.add(pair);
      pairs.add(new PromptPair(pair.corrupt(), pair.clean(), pair.answers(), pair.wrongAnswers()));
    }
    // Without the last one, or there might be no difference at all, which is refused.
    new PromptDataset(pairs.subList(0, pairs.size() - 1)).write(prompts);
  }

  private CommandRun run(String command, Object... more) {
    List<Object> arguments = new ArrayList<>(List.of(command, "-m", model, "-p", prompts));
    arguments.addAll(List.of(more));
    CommandRun run = CommandRun.of(arguments.toArray());
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    return run;
  }

  private static void assertWarned(CommandRun run) {
    assertThat(run.err().split(WARNING, -1)).hasSize(2);
    assertThat(run.err())
        .contains(
            "shares of so small a difference mean nothing and are left out; do clean and corrupt"
                + " change places in some pairs?");
  }

  @Test
  void sharesOfNoiseAreLeftOut() throws IOException {
    Path scores = folder.resolve("scores.json");
    CommandRun found =
        run(
            "discover",
            "--method",
            "random",
            "--no-picture",
            "-o",
            scores,
            "--sizes",
            "10,50",
            "--page",
            folder.resolve("found.html"));
    assertWarned(found);
    assertThat(found.out()).containsPattern("\\n +23 +50 % +-?[\\d.]+ +- ");
    assertThat(found.out()).doesNotContain("The smallest circuit");

    CommandRun evaluated =
        run("evaluate", "--scores", scores, "--page", folder.resolve("evaluated.html"));
    assertWarned(evaluated);
    for (String page : List.of("found.html", "evaluated.html")) {
      JsonNode curve = DiscoverTest.pageData(folder.resolve(page)).at("/curves/0");
      assertThat(curve.get("clear").asBoolean()).isFalse();
      assertThat(curve.findValues("recovered")).isNotEmpty().allMatch(JsonNode::isNull);
    }
    assertThat(evaluated.out())
        .contains("CPR -, CMD -")
        .containsPattern("\\n +23 +50.0 % +-?[\\d.]+ +[\\d.]+ +- +[\\d.]+ ");

    CommandRun compared = run("compare", scores, "--methods", "eap");
    assertWarned(compared);
    assertThat(compared.out())
        .containsPattern("\\n +23 +50.0 % +- +-\\n")
        .containsPattern("CPR +- +-\\n");
  }
}
