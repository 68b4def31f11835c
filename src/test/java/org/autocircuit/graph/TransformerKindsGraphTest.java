package org.autocircuit.graph;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.List;
import java.util.OptionalInt;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.TransformerConfig;
import org.junit.jupiter.api.Test;

/**
 * Tests what the reference data does not show: its grouped model fails, and its parallel one too.
 */
class TransformerKindsGraphTest {

  private static TransformerConfig.Builder small() {
    return TransformerConfig.builder().nLayers(2).dModel(16).nHeads(4).dVocab(53).nCtx(32);
  }

  @Test
  void keysAndValuesAreDestinationsOfKeyValueHeads() {
    TransformerConfig config = small().nKeyValueHeads(2).build();
    ModelGraph graph = ModelGraph.of(config, true, true);
    assertThat(graph.destModule("blocks.1.hook_q_input").rows()).isEqualTo(4);
    assertThat(graph.destModule("blocks.1.hook_k_input").rows()).isEqualTo(2);
    assertThat(graph.destModule("blocks.1.hook_v_input").maskShape()).containsExactly(2, 6);
    assertThat(graph.nEdges()).isEqualTo(110 - 4 - 4 * 6);
    assertThat(graph.dests()).extracting(Node::name).contains("A1.1.K").doesNotContain("A1.2.K");
    assertThat(graph.srcs()).extracting(Node::name).contains("A1.3");
    assertThat(graph.ungroupedKeyValues()).isFalse();

    ModelGraph ungrouped = graph.ungroupKeyValues();
    assertThat(ungrouped).isNotEqualTo(graph);
    assertThat(ungrouped.ungroupedKeyValues()).isTrue();
    assertThat(ungrouped.nEdges()).isEqualTo(110);
    assertThat(ungrouped.ungroupKeyValues()).isSameAs(ungrouped);
  }

  @Test
  void labelsSayWhichQueryHeadsReadAKeyValueHead() {
    ModelGraph grouped = ModelGraph.of(small().nKeyValueHeads(2).build(), true, true, 6);
    Edge edge = grouped.edge("A0.1->A1.1.V", 3);
    assertThat(edge.dest().queryHeads()).containsExactly(2, 3);
    assertThat(edge.dest().label()).isEqualTo("A1.1.V (kv 1: heads 2, 3)");
    assertThat(edge.label()).isEqualTo("A0.1->A1.1.V (kv 1: heads 2, 3)");
    assertThat(edge).hasToString("A0.1->A1.1.V@3 (kv 1: heads 2, 3)");
    // Machines keep to the names.
    assertThat(edge.name()).isEqualTo("A0.1->A1.1.V");
    assertThat(grouped.edge(edge.name() + "@3")).isEqualTo(edge);

    ModelGraph single = ModelGraph.of(small().nKeyValueHeads(1).build(), true, true);
    assertThat(single.edge("A0.1->A1.0.K").label()).isEqualTo("A0.1->A1.0.K (kv 0: heads 0-3)");

    for (ModelGraph graph :
        List.of(
            ModelGraph.of(small().build(), true, true),
            ModelGraph.of(small().nKeyValueHeads(2).build(), true, false),
            ModelGraph.of(small().nKeyValueHeads(2).build(), false, true),
            grouped.ungroupKeyValues())) {
      assertThat(graph.dests()).allMatch(dest -> dest.queryHeads().isEmpty());
      assertThat(graph.dests()).allMatch(dest -> dest.label().equals(dest.name()));
    }
    assertThat(grouped.dests())
        .filteredOn(dest -> !dest.queryHeads().isEmpty())
        .extracting(Node::name)
        .containsExactly(
            "A0.0.K", "A0.1.K", "A0.0.V", "A0.1.V", "A1.0.K", "A1.1.K", "A1.0.V", "A1.1.V");
  }

  @Test
  void nothingToUngroupIsTheSameGraph() {
    for (ModelGraph graph :
        List.of(
            ModelGraph.of(small().build(), true, true),
            ModelGraph.of(small().nKeyValueHeads(2).build(), true, false),
            ModelGraph.of(small().nKeyValueHeads(2).build(), false, true))) {
      assertThat(graph.ungroupKeyValues()).isSameAs(graph);
      assertThat(graph.ungroupedKeyValues()).isFalse();
    }
  }

  @Test
  void positionsStayWhenUngrouped() {
    TransformerConfig config = small().nKeyValueHeads(1).build();
    ModelGraph graph = ModelGraph.of(config, true, true, 6).ungroupKeyValues();
    assertThat(graph.seqLen()).isEqualTo(OptionalInt.of(6));
    assertThat(graph.destModule("blocks.1.hook_k_input").maskShape()).containsExactly(6, 4, 6);
  }

  @Test
  void parallelBlocksHaveNoResidualGraph() {
    TransformerConfig config = small().blockKind(BlockKind.PARALLEL).build();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> ModelGraph.of(config, false, true))
        .withMessageContaining("parallel")
        .withMessageContaining("factorised");
    ModelGraph graph = ModelGraph.of(config, true, true);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> graph.index("A0.1->MLP 0"))
        .withMessageContaining("does not come before");
  }

  @Test
  void moduleOrderIsThatOfAForwardPass() {
    ModelGraph parallel =
        ModelGraph.of(small().nLayers(1).blockKind(BlockKind.PARALLEL).build(), true, true);
    assertThat(parallel.destModules())
        .extracting(DestModule::moduleName)
        .containsExactly(
            "blocks.0.hook_q_input",
            "blocks.0.hook_k_input",
            "blocks.0.hook_v_input",
            "blocks.0.hook_mlp_in",
            "blocks.0.hook_resid_post");
    ModelGraph attentionOnly =
        ModelGraph.of(small().blockKind(BlockKind.ATTENTION_ONLY).build(), false, true);
    assertThat(attentionOnly.srcs()).extracting(Node::name).contains("Resid Post 0");
    assertThat(attentionOnly.nodes()).extracting(Node::name).doesNotContain("MLP 0", "Resid Mid 0");
  }
}
