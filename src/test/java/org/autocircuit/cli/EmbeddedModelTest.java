package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The commands without a model of one's own. */
class EmbeddedModelTest {

  @TempDir private Path folder;

  @Test
  void aTenthOfTheEdgesDoesTheTaskAndRandomOnesDoNot() {
    CommandRun run =
        CommandRun.of(
            "discover",
            "--sizes",
            10,
            "--random",
            1,
            "--budget", // not by time, so that a slow machine verifies as many
            1000,
            "--output",
            folder.resolve("scores.json"),
            "--picture",
            folder.resolve("circuit.svg"));
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    List<String> lines =
        run.out().lines().dropWhile(line -> !line.startsWith("  edges  share")).toList();
    List<Double> percent = percent(lines.get(2));
    assertThat(percent).hasSize(4);
    assertThat(percent.get(1)).as("faithful").isGreaterThan(90);
    assertThat(percent.get(3)).as("random").isLessThan(25);
    assertThat(run.out()).contains("Verified: 20 of the best edges and 40 random ones patched");
    assertThat(folder.resolve("circuit.svg")).isNotEmptyFile();
  }

  private static List<Double> percent(String line) {
    return Pattern.compile("(-?[\\d.]+) %")
        .matcher(line)
        .results()
        .map(match -> Double.valueOf(match.group(1)))
        .toList();
  }

  @Test
  void showsItsGraph() {
    CommandRun run = CommandRun.of("graph");
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(run.out()).contains("indirect-object (built in): 4 layers, 8 heads");
  }

  @Test
  void completesASentence() {
    CommandRun run =
        CommandRun.of(
            "run",
            "--prompt",
            "When Mary and John went to the store, John gave a drink to",
            "--top-k",
            1);
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    assertThat(run.out()).contains("'Mary'");
  }
}
