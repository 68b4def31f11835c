package org.autocircuit.report;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ScoreSign;

/** Pages of random scores, a few of which are large, as in circuits. */
final class ExamplePages {

  static final String HOSTILE = "</script><img src=x onerror=\"window.hurt=1\">&amp;<b>'\"";

  private ExamplePages() {}

  static ModelGraph graph(int blocks, int heads, int keyValueHeads) {
    TransformerConfig config =
        TransformerConfig.builder()
            .nLayers(blocks)
            .dModel(2 * heads)
            .nHeads(heads)
            .nKeyValueHeads(keyValueHeads)
            .dMlp(4)
            .dVocab(10)
            .nCtx(16)
            .build();
    return ModelGraph.of(config, true, true);
  }

  static PruneScores scores(ModelGraph graph) {
    Random random = new Random(1);
    double[] scores = new double[graph.nEdges()];
    for (int i = 0; i < scores.length; i++) {
      scores[i] = Math.pow(random.nextGaussian(), 5) / 50;
    }
    return PruneScores.of(graph, scores);
  }

  /** Scores of three positions beside those of another method. */
  static CircuitPage compared() {
    TransformerConfig config = (TransformerConfig) graph(2, 4, 4).config();
    ModelGraph graph = ModelGraph.of(config, true, true, 3);
    PruneScores scores = scores(graph);
    double[] others = scores.toArray();
    for (int i = 0; i < others.length; i += 2) {
      others[i] /= 3;
    }
    return CircuitPage.builder(scores, "Two methods")
        .positions(position -> List.of("'Mary'", "' " + HOSTILE + "'", "' to'").get(position))
        .method("one", "logits", ScoreSign.SIGNED, "")
        .other("another " + HOSTILE, "none", ScoreSign.UNSIGNED, "", PruneScores.of(graph, others))
        .build();
  }

  /** All that a page can have, names and tokens full of HTML. */
  static CircuitPage full(PruneScores scores) {
    CircuitMeasures full = new CircuitMeasures(4.2, 0, 0.97, 0.99);
    CircuitMeasures empty = new CircuitMeasures(-4.1, 6.2, 0.01, 0.02);
    List<CircuitPage.Size> sizes = new ArrayList<>();
    int n = scores.size();
    for (int size : List.of(0, 5, 20, 80, Math.min(400, n / 2), n)) {
      double share = size == n ? 1 : Math.min(0.99, Math.log1p(size) / 6);
      CircuitMeasures found = new CircuitMeasures(-4.1 + 8.3 * share, 6 - 6 * share, share, share);
      CircuitMeasures random = new CircuitMeasures(-4.1 + 0.4 * share, 6, 0.01, 0.1);
      boolean proper = size > 0 && size < n;
      sizes.add(new CircuitPage.Size(size, found, proper ? random : null));
    }
    List<CircuitPage.Prompt> prompts = new ArrayList<>();
    for (int i = 0; i < 30; i++) {
      prompts.add(
          new CircuitPage.Prompt(
              List.of("'<|endoftext|>'", "'Mary'", "' and'", "' John'", "' gave it to'"),
              List.of("'<|endoftext|>'", "'Mary'", "' and'", "'" + HOSTILE + "'", "' gave it to'"),
              List.of("' Mary'"),
              List.of("' John'"),
              3 + (i * 7 % 11) / 10.0,
              2.5 + (i * 5 % 13) / 10.0,
              i == 4 ? Double.NaN : -4));
    }
    return CircuitPage.builder(scores, "The circuit of " + HOSTILE)
        .fact("model", "a model of random scores")
        .fact("prompts", HOSTILE)
        .fact("command", "autocircuit discover --page page.html")
        .method(
            "edge attribution patching",
            "logits",
            ScoreSign.SIGNED,
            "The score estimates how much the logit difference falls when the edge alone is patched"
                + " with the corrupt prompt, as a mean over the prompts.")
        .curve(full, empty, sizes)
        .smallest(new CircuitPage.Smallest(0.95, Math.min(60, n), 0.953, 0.94))
        .prompts(60, "logit difference", 64, prompts)
        .build();
  }
}
