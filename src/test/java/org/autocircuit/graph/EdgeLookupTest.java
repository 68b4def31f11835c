package org.autocircuit.graph;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.assertj.core.api.AbstractThrowableAssert;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.autocircuit.RandomModels;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.TransformerConfig;
import org.junit.jupiter.api.Test;

/** Tests what is said about edges that do not exist. */
class EdgeLookupTest {

  private static final TransformerConfig CONFIG = RandomModels.config(2, 16, 4, 4, 32, 53, 32);
  private static final TransformerConfig GROUPED =
      TransformerConfig.builder()
          .nLayers(2)
          .dModel(16)
          .nHeads(4)
          .nKeyValueHeads(2)
          .dVocab(53)
          .nCtx(32)
          .build();
  private static final ModelGraph GRAPH = ModelGraph.of(CONFIG, true, true);
  private static final ModelGraph RESIDUAL = ModelGraph.of(CONFIG, false, true);
  private static final ModelGraph POSITIONS = ModelGraph.of(CONFIG, true, true, 6);

  @Test
  void unknownSourcesDestinationsAndBoth() {
    assertRefused(() -> GRAPH.edge("A0.9->MLP 1"))
        .hasMessage(
            "unknown edge 'A0.9->MLP 1': there is no source 'A0.9'; did you mean 'A0.0->MLP 1'?");
    assertRefused(() -> GRAPH.edge("A0.1->A1.2"))
        .hasMessage(
            "unknown edge 'A0.1->A1.2': there is no destination 'A1.2'; did you mean"
                + " 'A0.1->A1.2.Q'?");
    assertRefused(() -> GRAPH.edge("Resid start->MLP1"))
        .hasMessageContaining("neither source 'Resid start' nor destination 'MLP1' exists")
        .hasMessageContaining("did you mean 'Resid Start->MLP 1'?");
    assertRefused(() -> GRAPH.edges("no such edge")).hasMessageContaining("'source->destination'");
    assertRefused(() -> GRAPH.index("")).hasMessageContaining("unknown edge ''");
  }

  @Test
  void keysAndValuesOfQueryHeadsThatShareThem() {
    ModelGraph grouped = ModelGraph.of(GROUPED, true, true);
    assertRefused(() -> grouped.edge("A0.1->A1.3.V"))
        .hasMessage(
            "unknown edge 'A0.1->A1.3.V': there is no destination 'A1.3.V' (there are 2 key/value"
                + " heads unless ungrouped; query head 3 reads kv 1); did you mean"
                + " 'A0.1->A1.1.V' (kv 1: heads 2, 3)?");
    assertRefused(() -> grouped.indices("A0.1->A1.2.K"))
        .hasMessageEndingWith(
            "query head 2 reads kv 1); did you mean 'A0.1->A1.1.K' (kv 1: heads 2, 3)?");
    assertRefused(() -> grouped.edge("A0.9->A1.3.V"))
        .hasMessageContaining("neither source 'A0.9' nor destination 'A1.3.V' exists (there are 2");
    // No query head at all, no such block, and what only looks like a number.
    assertRefused(() -> grouped.edge("A0.1->A1.4.V"))
        .hasMessageContaining("(there are 2 key/value heads unless ungrouped); did you");
    for (String name : List.of("A0.1->A2.3.V", "A0.1->A1.99999999999.V", "A0.1->A1.3.W")) {
      assertRefused(() -> grouped.edge(name)).hasMessageNotContaining("key/value");
    }
    assertRefused(() -> grouped.edge("MLP 1->A1.1.V"))
        .hasMessageContaining("does not come before destination 'A1.1.V' (kv 1: heads 2, 3);");
    TransformerConfig single =
        TransformerConfig.builder()
            .nLayers(2)
            .dModel(16)
            .nHeads(4)
            .nKeyValueHeads(1)
            .dVocab(53)
            .nCtx(32)
            .build();
    assertRefused(() -> ModelGraph.of(single, true, true).edge("A0.1->A1.3.V"))
        .hasMessageContaining(
            "(there is 1 key/value head unless ungrouped; query head 3 reads kv 0); did you mean"
                + " 'A0.1->A1.0.V' (kv 0: heads 0-3)?");
    assertRefused(() -> ModelGraph.of(GROUPED, true, true, 6).edge("A0.1->A1.3.V@2"))
        .hasMessageContaining("query head 3 reads kv 1");

    assertThat(grouped.ungroupKeyValues().edge("A0.1->A1.3.V").label()).isEqualTo("A0.1->A1.3.V");
    assertRefused(() -> grouped.ungroupKeyValues().edge("A0.1->A1.4.V"))
        .hasMessageNotContaining("key/value");
    Edge shared = grouped.edge("A0.1->A1.1.V");
    assertRefused(() -> grouped.ungroupKeyValues().index(shared))
        .hasMessage(
            "edge 'A0.1->A1.1.V (kv 1: heads 2, 3)' belongs to a graph in which its nodes are other"
                + " ones than those of 'A0.1->A1.1.V' here");
  }

  @Test
  void sourcesThatDoNotReachTheDestination() {
    assertRefused(() -> GRAPH.edge("MLP 1->A1.0.Q"))
        .hasMessageContaining("source 'MLP 1' does not come before destination 'A1.0.Q'")
        .hasMessageContaining("fed by 'Resid Start' to 'MLP 0'")
        .hasMessageContaining("did you mean 'MLP 0->A1.0.Q'?");
    assertRefused(() -> GRAPH.edge("A1.0->A1.0.V")).hasMessageContaining("does not come before");
    assertRefused(() -> RESIDUAL.edge("Resid Start->Resid End"))
        .hasMessageContaining(
            "source 'Resid Start' reaches destination 'Resid End' only through a residual node");
  }

  @Test
  void positions() {
    assertThat(POSITIONS.edge("A0.1->MLP 1", 5).position()).hasValue(5);
    assertRefused(() -> POSITIONS.edge("A0.1->MLP 1", 6))
        .hasMessage("edge 'A0.1->MLP 1' at token position 6: the graph has positions 0 to 5");
    assertRefused(() -> POSITIONS.edge("A0.1->MLP 1", -1)).hasMessageContaining("-1");
    assertRefused(() -> POSITIONS.edge("A0.1->MLP 1"))
        .hasMessageContaining("needs a token position from 0 to 5");
    assertRefused(() -> GRAPH.edge("A0.1->MLP 1", 0))
        .hasMessageContaining("made without a sequence length");
    assertRefused(() -> GRAPH.edgesAt(0)).hasMessageContaining("no positions");
    assertRefused(() -> ModelGraph.of(CONFIG, true, true, 0)).hasMessageContaining("got 0");
  }

  @Test
  void namesWithAPosition() {
    int index = POSITIONS.index("A0.1->A1.2.Q", 3);
    assertThat(POSITIONS.index("A0.1->A1.2.Q@3")).isEqualTo(index);
    assertThat(POSITIONS.edge("A0.1->A1.2.Q@3").position()).hasValue(3);
    assertThat(POSITIONS.indices("A0.1->A1.2.Q@3")).containsExactly(index);
    assertThat(POSITIONS.indices("A0.1->A1.2.Q")).hasSize(6).contains(index);
    assertThat(EdgeSet.ofNames(POSITIONS, List.of("A0.1->A1.2.Q@3", "MLP 0->A1.2.K")).size())
        .isEqualTo(7);
    assertRefused(() -> POSITIONS.edge("A0.1->MLP 1@6"))
        .hasMessage("edge 'A0.1->MLP 1' at token position 6: the graph has positions 0 to 5");
    assertRefused(() -> POSITIONS.edge("A0.1->MLP 1@-1")).hasMessageContaining("-1");
    assertRefused(() -> POSITIONS.edge("A0.9->MLP 1@2"))
        .hasMessageContaining("there is no source 'A0.9'");
    assertRefused(() -> POSITIONS.edge("A0.1->MLP 1@2", 2)).hasMessageContaining("'MLP 1@2'");
    assertRefused(() -> POSITIONS.edge("A0.1->MLP 1")).hasMessageContaining("'A0.1->MLP 1@5'");
    assertRefused(() -> GRAPH.indices("A0.1->MLP 1@0"))
        .hasMessageContaining("made without a sequence length");
  }

  @Test
  void edgesOfOtherGraphs() {
    Edge positioned = POSITIONS.edge("A0.1->MLP 1", 5);
    assertRefused(() -> GRAPH.index(positioned)).hasMessageContaining("no positions");
    assertThat(GRAPH.edges().contains(positioned)).isFalse();
    Edge residual = RESIDUAL.edge("MLP 0->Resid Post 0");
    assertRefused(() -> GRAPH.index(residual)).hasMessageContaining("no destination");
    Edge micro = ModelGraph.of(new MicroModelConfig(2), true, false).edge("Resid Start->Resid End");
    assertRefused(() -> GRAPH.index(micro)).hasMessageContaining("belongs to a graph");
    assertThat(GRAPH.edges().indexOf(micro)).isEqualTo(-1);
    assertThat(POSITIONS.edgesAt(4).contains(positioned)).isFalse();
    assertThat(POSITIONS.edgesAt(5).contains(positioned)).isTrue();
  }

  @Test
  void modulesAndIndices() {
    assertRefused(() -> GRAPH.destModule("blocks.1.hook_q_in"))
        .hasMessageContaining("did you mean 'blocks.1.hook_q_input'?");
    assertThatThrownBy(() -> GRAPH.edge(110)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> GRAPH.edge(-1)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> GRAPH.edges().get(110)).isInstanceOf(IndexOutOfBoundsException.class);
  }

  @Test
  void nearestNames() {
    assertThat(NearestName.distance("kitten", "sitting")).isEqualTo(3);
    assertThat(NearestName.distance("", "ab")).isEqualTo(2);
    assertThat(NearestName.of("b", List.of("c", "a"))).isEqualTo("a");
  }

  private static AbstractThrowableAssert<?, ? extends Throwable> assertRefused(
      ThrowingCallable call) {
    return assertThatThrownBy(call).isInstanceOf(IllegalArgumentException.class);
  }
}
