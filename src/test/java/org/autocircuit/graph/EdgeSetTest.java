package org.autocircuit.graph;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.BitSet;
import java.util.List;
import org.autocircuit.model.MicroModelConfig;
import org.junit.jupiter.api.Test;

class EdgeSetTest {

  private static final ModelGraph GRAPH = ModelGraph.of(new MicroModelConfig(2), false, false);

  @Test
  void edgesNamesAndIndicesMakeTheSameSet() {
    EdgeSet set = EdgeSet.ofNames(GRAPH, List.of("B1.0->Resid End", "B0.0->Resid Post 0"));
    BitSet indices = new BitSet();
    indices.set(1);
    indices.set(4);
    assertThat(set).isEqualTo(EdgeSet.ofIndices(GRAPH, indices));
    assertThat(set).isEqualTo(EdgeSet.of(GRAPH, set.edges()));
    assertThat(set).hasSameHashCodeAs(EdgeSet.of(GRAPH, set.edges()));
    indices.set(0);
    assertThat(set.size()).isEqualTo(2);
    assertThat(set.indices()).containsExactly(1, 4);
    assertThat(set.contains(4)).isTrue();
    assertThat(set.contains(GRAPH.edge(0))).isFalse();
    assertThat(set.mask(1, 0)).containsExactly(0, 1, 0, 0, 1, 0);
    assertThat(set).hasToString("2 of 6 edges");
  }

  @Test
  void complements() {
    assertThat(EdgeSet.all(GRAPH).edges()).isEqualTo(GRAPH.edges());
    assertThat(EdgeSet.all(GRAPH).complement()).isEqualTo(EdgeSet.none(GRAPH));
    EdgeSet set = EdgeSet.ofNames(GRAPH, List.of("B1.0->Resid End"));
    assertThat(set.complement().mask(0, 1)).containsExactly(set.mask(1, 0));
  }

  @Test
  void namesMeanAllPositions() {
    ModelGraph positions = ModelGraph.of(new MicroModelConfig(2), false, false, 3);
    EdgeSet set = EdgeSet.ofNames(positions, List.of("B1.0->Resid End"));
    assertThat(set.edges()).isEqualTo(positions.edges("B1.0->Resid End")).hasSize(3);
  }

  @Test
  void edgesThatAreNotInTheGraphAreRefused() {
    assertThatThrownBy(() -> EdgeSet.ofNames(GRAPH, List.of("B2.0->Resid End")))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("did you mean 'B1.0->Resid End'?");
    BitSet tooMany = new BitSet();
    tooMany.set(6);
    assertThatThrownBy(() -> EdgeSet.ofIndices(GRAPH, tooMany))
        .isInstanceOf(IndexOutOfBoundsException.class)
        .hasMessageContaining("edge index 6 in a graph with 6 edges");
  }
}
