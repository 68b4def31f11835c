package org.autocircuit.report;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.prune.ScoredEdge;
import org.junit.jupiter.api.Test;

class ScoreTableTest {

  @Test
  void namesSayWhoReadsASharedKeyValueHead() {
    ModelGraph graph =
        ModelGraph.of(
            TransformerConfig.builder()
                .nLayers(12)
                .dModel(48)
                .nHeads(24)
                .nKeyValueHeads(8)
                .dVocab(10)
                .nCtx(12)
                .build(),
            true,
            true,
            12);
    List<ScoredEdge> edges =
        List.of(
            new ScoredEdge(graph.edge("MLP 10->A11.7.V", 10), -2),
            new ScoredEdge(graph.edge("A0.1->A1.1.Q", 3), 1));
    List<String> lines = ScoreTable.of(edges, position -> "'token'").lines().toList();
    // Bars make room for the names.
    assertThat(lines.get(1))
        .matches(" +1  MLP 10->A11\\.7\\.V \\(kv 7: heads 21-23\\) +10  'token'  -2.0000  -{4,23}")
        .hasSize(80);
    assertThat(lines.get(2)).contains("2  A0.1->A1.1.Q  ").matches(".*\\+1.0000  #+");
  }

  @Test
  void whatIsNotFiniteIsPrintedAndHasNoBar() {
    List<Edge> edges = ModelGraph.of(new MicroModelConfig(1), true, false).edges();
    String table =
        ScoreTable.of(
            List.of(
                new ScoredEdge(edges.get(0), Double.POSITIVE_INFINITY),
                new ScoredEdge(edges.get(1), 2),
                new ScoredEdge(edges.get(2), -1),
                new ScoredEdge(edges.get(3), Double.NaN)));
    List<String> lines = table.lines().toList();
    assertThat(lines.get(1)).endsWith("+Infinity");
    assertThat(lines.get(2)).endsWith("+2.0000  " + "#".repeat(24));
    assertThat(lines.get(3)).endsWith("-1.0000  " + "-".repeat(12));
    assertThat(lines.get(4)).endsWith("NaN");
  }
}
