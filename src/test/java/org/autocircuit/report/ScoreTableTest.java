package org.autocircuit.report;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.prune.ScoredEdge;
import org.junit.jupiter.api.Test;

class ScoreTableTest {

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
