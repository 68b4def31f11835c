package org.autocircuit.graph;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Random;
import org.autocircuit.model.TransformerConfig;
import org.junit.jupiter.api.Test;

/** Graphs of the models that people use. */
class LargeGraphTest {

  private static final TransformerConfig GPT2_SMALL =
      new TransformerConfig(12, 768, 12, 64, 3072, 50257, 1024, 1e-5, "gelu_new");
  private static final TransformerConfig EIGHT_BILLION =
      new TransformerConfig(32, 4096, 32, 128, 14336, 128256, 8192, 1e-5, "gelu_new");

  @Test
  void gpt2Small() {
    ModelGraph graph = ModelGraph.of(GPT2_SMALL, true, true);
    assertThat(graph.srcs()).hasSize(157);
    assertThat(graph.nEdges()).isEqualTo(32_491);
  }

  @Test
  void eightBillionParameters() {
    ModelGraph graph = ModelGraph.of(EIGHT_BILLION, true, true);
    assertThat(graph.srcs()).hasSize(1 + 32 * 33);
    assertThat(graph.dests()).hasSize(32 * 97 + 1);
    assertThat(graph.nEdges()).isEqualTo(1_592_881);
    assertThat(graph.edges()).hasSize(1_592_881);
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
        .isEqualTo(
            new WrapperSpec("blocks.31.hook_resid_post", -1, -1, 0, 1057, 0, 1_592_881 - 1057));
  }

  @Test
  void everyEdgeOfEightBillionParametersCanBeLookedUpByName() {
    ModelGraph graph = ModelGraph.of(EIGHT_BILLION, true, true);
    int index = 0;
    for (Edge edge : graph.edges()) {
      if (graph.index(edge.name()) != index) {
        throw new AssertionError(edge + " has index " + index);
      }
      index++;
    }
    assertThat(index).isEqualTo(graph.nEdges());
  }

  @Test
  void graphsWhoseEdgesCannotBeNumberedAreRefused() {
    assertThat(ModelGraph.of(EIGHT_BILLION, true, true, 1000).nEdges()).isEqualTo(1_592_881_000);
    assertThatThrownBy(() -> ModelGraph.of(EIGHT_BILLION, true, true, 2048))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("leave out the sequence length");
  }
}
