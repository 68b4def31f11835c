package org.autocircuit.report;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeSet;
import org.autocircuit.eval.MeanDifference;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ScoreSign;

/** Pages of random scores, a few of which are large, as in circuits. */
final class ExamplePages {

  static final String HOSTILE = "</script><img src=x onerror=\"window.hurt=1\">&amp;<b>'\"";

  private static final int PROMPTS = 30;

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
    int n = scores.size();
    List<CircuitPage.Prompt> prompts = new ArrayList<>();
    for (int i = 0; i < PROMPTS; i++) {
      prompts.add(
          new CircuitPage.Prompt(
              List.of("'<|endoftext|>'", "'Mary'", "' and'", "' John'", "' gave it to'"),
              List.of("'<|endoftext|>'", "'Mary'", "' and'", "'" + HOSTILE + "'", "' gave it to'"),
              List.of("' Mary'"),
              List.of("' John'")));
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
        .curve(curve(n, new MeanDifference(8.3, 0.2)))
        .smallest(new CircuitPage.Smallest(0.95, Math.min(60, n), 0.953, 0.94))
        .prompts(64, prompts)
        .standardErrors(PruneScores.filled(scores.graph(), 0.7))
        .attention(0, attention(scores.graph(), 5))
        .attention(1, attention(scores.graph(), 5))
        .build();
  }

  /** Heads of which each token looks at the one before. */
  static Map<String, float[][]> attention(ModelGraph graph, int seq) {
    float[][] weights = new float[seq][seq];
    for (int query = 0; query < seq; query++) {
      weights[query][Math.max(query - 1, 0)] = query == 0 ? 1 : 0.8f;
      weights[query][query] += query == 0 ? 0 : 0.2f;
    }
    Map<String, float[][]> heads = new LinkedHashMap<>();
    graph.srcs().stream()
        .filter(src -> src.headIdx().isPresent())
        .forEach(src -> heads.put(src.name(), weights));
    return heads;
  }

  /** Circuits under several conditions, in the last of which all edges do what none do. */
  static CircuitPage evaluated(PruneScores scores) {
    int n = scores.size();
    RecoveryCurve curve = curve(n, new MeanDifference(8.3, 0.2)).withAreas(0.93, 0.12);
    CircuitPage page = full(scores);
    CircuitPage.Builder builder =
        CircuitPage.builder(scores, "Evaluated")
            .curve(
                curve
                    .withName("resample")
                    .withConditions("logit difference of 30 prompts; " + HOSTILE)
                    .withBaseline("same degrees", curve.found.subList(1, 4))
                    .withBaseline("weight norms", curve.found.subList(2, 5)))
            .curve(
                RecoveryCurve.of(
                        curve.metric,
                        curve.range,
                        curve.all,
                        curve.none,
                        List.of(point(5, 0.2), point(n / 2, 1.7), point(n, 1)))
                    .withName("zero")
                    .withAreas(0.5, 0.6))
            .curve(curve(n, new MeanDifference(0.2, 0.3)).withName("noise " + HOSTILE));
    page.prompts.ifPresent(prompts -> builder.prompts(prompts.of(), prompts.rows()));
    return builder.build();
  }

  /** Circuits of some sizes, beside random ones. */
  static RecoveryCurve curve(int n, MeanDifference range) {
    List<RecoveryCurve.Point> found = new ArrayList<>();
    List<RecoveryCurve.Point> random = new ArrayList<>();
    for (int size : new TreeSet<>(List.of(0, 5, 20, Math.min(60, n), Math.min(400, n / 2), n))) {
      double share = size == n ? 1 : Math.min(0.99, Math.log1p(size) / 6);
      found.add(point(size, share));
      if (size > 0 && size < n) {
        random.add(RecoveryCurve.Point.ofShare(size, share / 20));
      }
    }
    return RecoveryCurve.of("logit difference", range, point(n, 1), point(0, 0), found)
        .withBaseline("random", random);
  }

  private static RecoveryCurve.Point point(int edges, double share) {
    List<Double> ofPrompts = new ArrayList<>();
    for (int i = 0; i < PROMPTS; i++) {
      boolean missing = i == 4 && edges == 0;
      ofPrompts.add(missing ? Double.NaN : -4 + 8.3 * share + (i * 7 % 11) / 10.0);
    }
    return new RecoveryCurve.Point(
        edges, -4.1 + 8.3 * share, 0.1, share, 6 - 6 * share, share, ofPrompts);
  }
}
