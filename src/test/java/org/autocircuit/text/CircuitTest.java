package org.autocircuit.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.logging.Level;
import org.autocircuit.LogRecords;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.PruneScoresJson;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CircuitTest {

  private static final ModelGraph GRAPH = ModelGraph.of(new MicroModelConfig(2), false, false);
  private static final PruneScores SCORES =
      PruneScores.of(GRAPH, new double[] {0.5, -2, Double.NaN, 1, 0, Double.NEGATIVE_INFINITY});

  @TempDir private Path folder;

  @Test
  void hasTheEdgesThatScoreMost() {
    Circuit circuit = Circuit.of(SCORES, 3);
    assertThat(circuit.edges()).isEqualTo(EdgeSet.of(GRAPH, 1, 3, 5));
    assertThat(circuit.size()).isEqualTo(3);
    assertThat(circuit.sorted().stream().mapToDouble(edge -> edge.score()))
        .containsExactly(Double.NEGATIVE_INFINITY, -2.0, 1.0);
    assertThat(circuit.top(2)).isEqualTo(circuit.sorted().subList(0, 2));
    assertThat(circuit.top(9)).isEqualTo(circuit.sorted());
    assertThatThrownBy(() -> circuit.top(-1))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("top: expected 0 edges or more, got -1");
    assertThat(circuit.scores().toArray())
        .containsExactly(0, -2, 0, 1, 0, Double.NEGATIVE_INFINITY);
    assertThat(circuit.ablation()).isEqualTo(BatchAblation.RESAMPLE);
    assertThat(circuit).hasToString("circuit of 3 of 6 edges");
    assertThat(Circuit.of(SCORES, EdgeSet.of(GRAPH, 0, 2, 5)).sorted())
        .extracting(edge -> edge.score())
        .containsExactly(Double.NEGATIVE_INFINITY, 0.5, Double.NaN);
    assertThat(Circuit.ofNames(GRAPH, List.of("B1.0->Resid End")).scores().toArray())
        .containsExactly(0, 0, 0, 0, 1, 0);
  }

  @Test
  void refusesScoresThatSelectNone() {
    assertThatThrownBy(() -> Circuit.of(PruneScores.filled(GRAPH, 0), 2))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("all 6 edges have the same score, 0.0");
    assertThatThrownBy(() -> Circuit.of(SCORES, 7)).hasMessageContaining("from 0 to 6, got 7");
    ModelGraph other = ModelGraph.of(new MicroModelConfig(3), false, false);
    assertThatThrownBy(() -> Circuit.of(SCORES, EdgeSet.all(other)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageStartingWith("edges: expected those of a residual graph");
  }

  @Test
  void savesAndLoadsItself() throws IOException {
    Path file = folder.resolve("circuit.json");
    for (Ablation ablation : Ablation.values()) {
      for (int size = 0; size <= 5; size++) {
        Circuit circuit =
            Circuit.of(SCORES, SCORES.circuit(size)).withAblation(ablation).withModel("a \"b\"");
        circuit.save(file);
        Circuit loaded = Circuit.load(GRAPH, file);
        assertThat(loaded).isEqualTo(circuit).hasSameHashCodeAs(circuit);
        assertThat(loaded.ablation()).isEqualTo(ablation);
        assertThat(loaded.model()).isEqualTo("a \"b\"");
      }
    }
    try (var files = Files.list(folder)) {
      assertThat(files).containsExactly(file);
    }
  }

  @Test
  void saysWhatIsWrongWithAFile() throws IOException {
    Path file = folder.resolve("circuit.json");
    assertRefused(file, "circuit.json");
    assertRefused(folder, folder + ": a folder, expected a file");
    Circuit.of(SCORES, 2).save(file);
    String text = Files.readString(file);
    assertRefused(edited(text, "RESAMPLE", "SAMPLE"), "'ablation' is 'SAMPLE'", "[RESAMPLE, ZERO");
    assertRefused(edited(text, "\"ablation\"", "\"oblation\""), "does not say the circuit's 'abl");
    assertRefused(edited(text, "\"model\" : \"\",", ""), "does not say the circuit's 'model'");
    assertRefused(edited(text, "\"n_edges\" : 2", "\"n_edges\" : null"), "2 edges of a circuit");
    assertRefused(Files.writeString(file, text.substring(0, 300)), "not valid JSON at line ");
    assertRefused(Files.writeString(file, "{}"), "expected member 'format'");
    PruneScoresJson.write(SCORES, file);
    assertRefused(file, "has the scores of all 6 edges and no circuit");
    Circuit.of(SCORES, 2).save(file);
    ModelGraph positions = ModelGraph.of(new MicroModelConfig(2), false, false, 5);
    assertThatThrownBy(() -> Circuit.load(positions, file))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining(
            "expected seq_len 5, found none; open the model with the same options");
    Path nowhere = folder.resolve("none/circuit.json");
    assertThatThrownBy(() -> Circuit.of(SCORES, 2).save(nowhere))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("there is no folder");
  }

  @Test
  void warnsOfCircuitsOfOtherModels() throws IOException {
    Path file = folder.resolve("circuit.json");
    try (TextModel model = ExampleModel.open();
        LogRecords log = new LogRecords("org.autocircuit.text")) {
      Circuit circuit = Circuit.ofNames(model.graph(), List.of("MLP 0->A3.4.V"));
      circuit.save(file);
      assertThat(model.loadCircuit(file)).isEqualTo(circuit);
      circuit.withModel(model.name()).save(file);
      assertThat(model.loadCircuit(file).model()).isEqualTo("indirect-object");
      log.assertNone();
      circuit.withModel("gpt2").save(file);
      model.loadCircuit(file);
      log.assertOne(Level.WARNING, "a circuit of gpt2, loaded for indirect-object");
    }
  }

  private Path edited(String text, String from, String to) throws IOException {
    assertThat(text).contains(from);
    return Files.writeString(folder.resolve("circuit.json"), text.replace(from, to));
  }

  private static void assertRefused(Path file, String... words) {
    assertThatThrownBy(() -> Circuit.load(GRAPH, file))
        .isInstanceOf(IOException.class)
        .hasMessageContainingAll(words);
  }
}
