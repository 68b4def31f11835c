package org.autocircuit.graph;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.OptionalInt;
import java.util.Set;
import org.autocircuit.model.MicroModelConfig;
import org.junit.jupiter.api.Test;

/** Graphs small enough to write down by hand. */
class MicroModelGraphTest {

  private static final MicroModelConfig TWO_BLOCKS = new MicroModelConfig(2);

  @Test
  void factorisedEdgesInFlatOrder() {
    ModelGraph graph = ModelGraph.of(TWO_BLOCKS, true, false);
    assertThat(graph.edges())
        .extracting(Edge::name)
        .containsExactly(
            "Resid Start->B0.0",
            "Resid Start->B0.1",
            "Resid Start->B1.0",
            "B0.0->B1.0",
            "B0.1->B1.0",
            "Resid Start->B1.1",
            "B0.0->B1.1",
            "B0.1->B1.1",
            "Resid Start->Resid End",
            "B0.0->Resid End",
            "B0.1->Resid End",
            "B1.0->Resid End",
            "B1.1->Resid End");
    assertThat(graph.index("B0.0->B1.1")).isEqualTo(6);
    assertThat(graph.edge(6)).isEqualTo(graph.edge("B0.0->B1.1"));
    assertThat(graph.destModules())
        .containsExactly(
            new DestModule("blocks.0.head_inputs", 0, 0, 2, 0, 1, 0),
            new DestModule("blocks.1.head_inputs", 2, 0, 2, 0, 3, 2),
            new DestModule("output", 8, 0, 0, 0, 5, 4));
  }

  @Test
  void positionsComeBeforeHeadsInsideAModule() {
    ModelGraph graph = ModelGraph.of(TWO_BLOCKS, true, false, 2);
    assertThat(graph.edges().subList(0, 8))
        .extracting(Edge::toString)
        .containsExactly(
            "Resid Start->B0.0@0",
            "Resid Start->B0.1@0",
            "Resid Start->B0.0@1",
            "Resid Start->B0.1@1",
            "Resid Start->B1.0@0",
            "B0.0->B1.0@0",
            "B0.1->B1.0@0",
            "Resid Start->B1.1@0");
    assertThat(graph.nEdges()).isEqualTo(26);
    assertThat(graph.indices("B0.1->B1.0")).containsExactly(6, 12);
    assertThat(graph.index("B0.1->B1.0", 1)).isEqualTo(12);
    assertThat(graph.edges("B0.1->B1.0"))
        .extracting(Edge::position)
        .containsExactly(OptionalInt.of(0), OptionalInt.of(1));
    assertThat(graph.destModule("blocks.1.head_inputs").maskShape()).containsExactly(2, 2, 3);
    assertThat(graph.edgesAt(1)).hasSize(13).first().hasToString("Resid Start->B0.0@1");
  }

  @Test
  void residualNodesStandForAllThatCameBefore() {
    ModelGraph graph = ModelGraph.of(TWO_BLOCKS, false, false);
    assertThat(graph.edges())
        .extracting(Edge::name)
        .containsExactly(
            "Resid Start->Resid Post 0",
            "B0.0->Resid Post 0",
            "B0.1->Resid Post 0",
            "Resid Post 0->Resid End",
            "B1.0->Resid End",
            "B1.1->Resid End");
    assertThat(graph.dests()).extracting(DestNode::minSrcIdx).containsExactly(0, 3);
    assertThat(graph.dests()).extracting(DestNode::layer).containsExactly(1, 2);
  }

  @Test
  void allSevenResultsOfGraphEdges() {
    GraphEdges graph = ModelGraph.graphEdges(TWO_BLOCKS, true, false, 3);
    assertThat(graph.srcs()).hasSize(5);
    assertThat(graph.dests()).hasSize(5);
    assertThat(graph.nodes()).hasSize(10);
    assertThat(graph.edges()).hasSize(39);
    assertThat(graph.edgeDict().keySet())
        .isEqualTo(Set.of(OptionalInt.of(0), OptionalInt.of(1), OptionalInt.of(2)));
    assertThat(graph.edgeDict().get(OptionalInt.of(2))).hasSize(13);
    assertThat(graph.seqDim()).isEqualTo(1);
    assertThat(graph.seqLen()).hasValue(3);

    GraphEdges unpositioned = ModelGraph.graphEdges(TWO_BLOCKS, true, false);
    assertThat(unpositioned.edgeDict().keySet()).containsExactly(OptionalInt.empty());
    assertThat(unpositioned.edgeDict().get(OptionalInt.empty()))
        .isEqualTo(unpositioned.edges())
        .hasSize(13);
  }

  @Test
  void wrappersAreDestinationsInFlatOrderThenPureSources() {
    List<WrapperSpec> factorized = ModelGraph.of(TWO_BLOCKS, true, false).wrapperSpecs();
    assertThat(factorized)
        .containsExactly(
            new WrapperSpec("blocks.0.head_inputs", -1, -1, 0, 1, 2, 0),
            new WrapperSpec("blocks.1.head_inputs", -1, -1, 0, 3, 2, 2),
            new WrapperSpec("output", -1, -1, 0, 5, 0, 8),
            new WrapperSpec("input", 0, 1, -1, -1, 0, -1),
            new WrapperSpec("blocks.0.head_outputs", 1, 3, -1, -1, 0, -1),
            new WrapperSpec("blocks.1.head_outputs", 3, 5, -1, -1, 0, -1));

    List<WrapperSpec> residual = ModelGraph.of(TWO_BLOCKS, false, false).wrapperSpecs();
    assertThat(residual.get(0)).isEqualTo(new WrapperSpec("resids.0", 3, 4, 0, 3, 0, 0));
    assertThat(residual.get(0).isSource() && residual.get(0).isDestination()).isTrue();
    WrapperSpec.Packed packed = WrapperSpec.pack(residual.subList(0, 3));
    assertThat(packed.modules()).isEqualTo("resids.0\noutput\ninput");
    assertThat(packed.numbers())
        .containsExactly(3, 4, 0, 3, 0, 0, -1, -1, 3, 6, 0, 3, 0, 1, -1, -1, 0, -1);
  }

  @Test
  void graphsOfEqualArgumentsAreEqual() {
    ModelGraph graph = ModelGraph.of(TWO_BLOCKS, true, false);
    assertThat(graph)
        .isEqualTo(ModelGraph.of(new MicroModelConfig(2), true, true))
        .hasSameHashCodeAs(ModelGraph.of(new MicroModelConfig(2), true, true))
        .isNotEqualTo(ModelGraph.of(TWO_BLOCKS, false, false))
        .isNotEqualTo(ModelGraph.of(TWO_BLOCKS, true, false, 1))
        .hasToString("factorised graph with 5 sources, 5 destinations and 13 edges");
  }
}
