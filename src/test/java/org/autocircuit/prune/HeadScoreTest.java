package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Map;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.TransformerConfig;
import org.junit.jupiter.api.Test;

class HeadScoreTest {

  private static TransformerConfig config(int keyValueHeads) {
    return TransformerConfig.builder()
        .nLayers(2)
        .nHeads(4)
        .nKeyValueHeads(keyValueHeads)
        .dModel(16)
        .dMlp(16)
        .dVocab(9)
        .nCtx(8)
        .build();
  }

  @Test
  void addsWhatGoesInAndOut() {
    ModelGraph graph = ModelGraph.of(config(4), true, true);
    PruneScores scores =
        PruneScores.ofCircuitNames(
            graph,
            Map.of("A0.1->A1.2.Q", -2, "A0.1->A1.2.V", 1, "A1.2->Resid End", 4, "MLP 0->MLP 1", 9));
    assertThat(HeadScore.of(scores))
        .hasSize(8)
        .startsWith(new HeadScore("A1.2", 3, 4), new HeadScore("A0.1", 0, 3))
        .contains(new HeadScore("A0.0", 0, 0));
  }

  @Test
  void keysThatHeadsShareCountForEach() {
    ModelGraph graph = ModelGraph.of(config(2), true, true);
    PruneScores scores =
        PruneScores.ofCircuitNames(graph, Map.of("A0.1->A1.1.K", -2, "A0.1->A1.1.Q", 1));
    assertThat(HeadScore.of(scores))
        .contains(
            new HeadScore("A1.1", 1, 0), new HeadScore("A1.2", 2, 0), new HeadScore("A1.3", 2, 0));
    ModelGraph joint = ModelGraph.of(config(4), true, false);
    assertThat(HeadScore.of(PruneScores.ofCircuitNames(joint, Map.of("MLP 0->A1.3", 5))))
        .startsWith(new HeadScore("A1.3", 5, 0));
    ModelGraph residual = ModelGraph.of(config(4), false, false);
    assertThat(HeadScore.of(PruneScores.filled(residual, 1)))
        .allMatch(head -> head.in() == 0 && head.out() > 0);
  }
}
