package org.autocircuit.graph;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.autocircuit.Allocation;
import org.autocircuit.RandomModels;
import org.autocircuit.model.Activation;
import org.autocircuit.model.Biases;
import org.autocircuit.model.Norm;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.Masks;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.PruneScoresJson;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Graphs of the models that people use. */
class LargeGraphTest {

  private static final TransformerConfig GPT2_SMALL =
      RandomModels.config(12, 768, 12, 64, 3072, 50257, 1024);
  private static final TransformerConfig EIGHT_BILLION =
      TransformerConfig.builder()
          .nLayers(32)
          .dModel(4096)
          .nHeads(32)
          .nKeyValueHeads(8)
          .dMlp(14336)
          .dVocab(128256)
          .nCtx(131072)
          .norm(Norm.rmsNorm(1e-5))
          .rotary(RotaryPositions.halves(128).withBase(500_000))
          .activation(Activation.SILU)
          .gatedMlp(true)
          .biases(Biases.NONE)
          .build();
  private static final int EDGES = 1_592_881;

  /** Llama 3.1's, with keys and values for each query head. */
  private static ModelGraph eightBillion() {
    return ModelGraph.of(EIGHT_BILLION, true, true).ungroupKeyValues();
  }

  @Test
  void gpt2Small() {
    ModelGraph graph = ModelGraph.of(GPT2_SMALL, true, true);
    assertThat(graph.srcs()).hasSize(157);
    assertThat(graph.nEdges()).isEqualTo(32_491);
  }

  @Test
  void eightBillionParameters() {
    ModelGraph graph = eightBillion();
    assertThat(graph.srcs()).hasSize(1 + 32 * 33);
    assertThat(graph.dests()).hasSize(32 * 97 + 1);
    assertThat(graph.nEdges()).isEqualTo(EDGES);
    assertThat(graph.edges()).hasSize(EDGES);
    assertThat(graph.edge(0).name()).isEqualTo("Resid Start->A0.0.Q");
    assertThat(graph.edge(graph.nEdges() - 1).name()).isEqualTo("MLP 31->Resid End");
    Random random = new Random(1);
    for (int i = 0; i < 100_000; i++) {
      int index = random.nextInt(graph.nEdges());
      Edge edge = graph.edge(index);
      assertThat(graph.index(edge.name()) == index && graph.index(edge) == index).isTrue();
    }
    List<WrapperSpec> wrappers = graph.wrapperSpecs();
    assertThat(wrappers).hasSize((32 * 4 + 1) + (1 + 32 * 2));
    assertThat(wrappers.get(128))
        .isEqualTo(new WrapperSpec("blocks.31.hook_resid_post", -1, -1, 0, 1057, 0, EDGES - 1057));
  }

  @Test
  void everyEdgeOfEightBillionParametersCanBeLookedUpByName() {
    ModelGraph graph = eightBillion();
    int index = 0;
    for (Edge edge : graph.edges()) {
      if (graph.index(edge.name()) != index) {
        throw new AssertionError(edge + " has index " + index);
      }
      index++;
    }
    assertThat(index).isEqualTo(graph.nEdges());
  }

  private static double[] scores() {
    return new Random(2).doubles(EDGES, -1, 1).toArray();
  }

  /** The smallest object has 16 bytes: less for each edge is no object for each edge. */
  @Test
  void nothingHasAnObjectForEachEdge() {
    ModelGraph graph = eightBillion();
    double[] values = scores();
    PruneScores scores = PruneScores.of(graph, values);
    EdgeSet circuit = scores.circuit(EDGES / 2);
    assertThat(Allocation.of(LargeGraphTest::eightBillion)).isLessThan(4L * EDGES);
    assertThat(Allocation.of(() -> PruneScores.of(graph, values))).isLessThan(10L * EDGES);
    assertThat(Allocation.of(() -> graph.edges())).isLessThan(1000);
    // The scores once more in order, and a bit for each edge.
    PruneScores fresh = PruneScores.of(graph, values);
    assertThat(Allocation.of(() -> fresh.circuit(EDGES / 2))).isLessThan(10L * EDGES);
    assertThat(Allocation.of(() -> scores.top(100))).isLessThan(100_000);
    assertThat(Allocation.of(() -> scores.sorted())).isLessThan(14L * EDGES);
    assertThat(Allocation.of(() -> circuit.complement().edges())).isLessThan(10L * EDGES);
    assertThat(Allocation.of(() -> Masks.allBut(circuit))).isLessThan(6L * EDGES);
    assertThat(Allocation.of(() -> Masks.of(graph, values))).isLessThan(10L * EDGES);
  }

  /** Processor time, since others may use the machine; the best of three. */
  @Test
  void aGraphItsNamesAndACircuitEachTakeLessThanASecond() {
    ModelGraph graph = eightBillion();
    List<String> names = new ArrayList<>();
    graph.edges().forEach(edge -> names.add(edge.name()));
    double[] values = scores();
    assertThat(seconds(LargeGraphTest::eightBillion)).isLessThan(1);
    assertThat(seconds(() -> names.forEach(graph::index))).isLessThan(1);
    assertThat(seconds(() -> PruneScores.of(graph, values).circuit(1000))).isLessThan(1);
    assertThat(seconds(() -> PruneScores.of(graph, values).top(1000))).isLessThan(1);
  }

  private static double seconds(Runnable action) {
    ThreadMXBean threads = ManagementFactory.getThreadMXBean();
    double best = Double.POSITIVE_INFINITY;
    for (int i = 0; i < 3; i++) {
      long start = threads.getCurrentThreadCpuTime();
      action.run();
      best = Math.min(best, (threads.getCurrentThreadCpuTime() - start) / 1e9);
    }
    return best;
  }

  @Test
  void scoresOfEightBillionParametersAreReadAsTheyWereWritten(@TempDir Path folder)
      throws IOException {
    ModelGraph graph = eightBillion();
    double[] values = scores();
    values[7] = Double.NEGATIVE_INFINITY;
    values[9] = Double.NaN;
    PruneScores scores = PruneScores.of(graph, values);
    Path file = folder.resolve("scores.json");
    PruneScoresJson.write(scores, file);
    assertThat(PruneScoresJson.read(graph, file)).isEqualTo(scores);
    assertThat(scores.top(2).get(0).edge()).isEqualTo(graph.edge(7));
  }

  @Test
  void graphsWhoseEdgesCannotBeNumberedAreRefused() {
    ModelGraph wide = ModelGraph.of(EIGHT_BILLION, true, true, 1000);
    assertThat(wide.ungroupKeyValues().nEdges()).isEqualTo(1000 * EDGES);
    ModelGraph wider = ModelGraph.of(EIGHT_BILLION, true, true, 2000);
    assertThatThrownBy(wider::ungroupKeyValues)
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("leave out the sequence length");
  }
}
