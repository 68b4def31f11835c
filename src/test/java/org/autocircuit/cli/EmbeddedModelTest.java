package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
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
            "--output",
            folder.resolve("scores.json"),
            "--picture",
            folder.resolve("circuit.html"));
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    List<String> lines =
        run.out().lines().dropWhile(line -> !line.startsWith("  edges  share")).toList();
    double found = logitDifference(lines.get(2), 0);
    double random = logitDifference(lines.get(2), 1);
    double model = logitDifference(lines.get(3), 0);
    assertThat(model).isPositive();
    assertThat(found).isGreaterThan(0.75 * model);
    assertThat(random).isLessThan(0.25 * model);
    assertThat(folder.resolve("circuit.html")).isNotEmptyFile();
  }

  /** The first number with three decimals of the circuit's part of a line, or of the other part. */
  private static double logitDifference(String line, int part) {
    return Double.parseDouble(
        List.of(line.strip().split("\\s+", -1)).stream()
            .filter(cell -> cell.matches("-?\\d+\\.\\d{3}"))
            .toList()
            .get(part));
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
