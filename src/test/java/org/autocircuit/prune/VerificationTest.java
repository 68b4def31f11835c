package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.data.SeededShuffle;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.prune.VerifiedScores.Interval;
import org.autocircuit.prune.VerifiedScores.VerifiedEdge;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class VerificationTest {

  private final PatchableModel model =
      TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults());
  private final List<PromptPairBatch> batches =
      List.of(TestModels.batch(3, 5, 10), TestModels.batch(2, 5, 20));

  @AfterEach
  void close() {
    model.close();
  }

  @Test
  void edgesAreTheBestAndRandomOnesAndEffectsAreThoseOfPatchingEachAlone() {
    PruneScores estimates = MaskGradient.builder().build().pruneScores(model, batches);
    EdgeActivationPatching patching =
        EdgeActivationPatching.builder().loss(GradFunction.LOGPROB, AnswerFunction.AVG_VAL).build();
    PruneScores all = patching.pruneScores(model, batches);
    VerifiedScores verified =
        Verification.builder()
            .patching(patching)
            .top(5)
            .sample(9)
            .seed(3)
            .build()
            .verify(model, batches, estimates);
    assertThat(verified.isComplete()).isTrue();
    assertThat(verified.top())
        .extracting(VerifiedEdge::edge)
        .containsExactlyElementsOf(estimates.top(5).stream().map(ScoredEdge::edge).toList());
    assertThat(verified.sample()).hasSize(9);
    Set<VerifiedEdge> edges = new HashSet<>(verified.top());
    edges.addAll(verified.sample());
    assertThat(edges).hasSize(14);
    PruneScores better = verified.scores();
    double slope = verified.slope();
    for (VerifiedEdge edge : edges) {
      assertThat(edge.exact()).isCloseTo(all.get(edge.edge()), within(1e-12));
      assertThat(edge.estimate()).isEqualTo(estimates.get(edge.edge()));
      assertThat(better.get(edge.edge())).isEqualTo(edge.exact());
    }
    for (int i = 0; i < estimates.size(); i++) {
      int edge = i;
      if (edges.stream().noneMatch(e -> model.graph().index(e.edge()) == edge)) {
        assertThat(better.get(i)).isEqualTo(slope * estimates.get(i));
      }
    }
  }

  @Test
  void budgetsAreKept() {
    PruneScores estimates = MaskGradient.builder().build().pruneScores(model, batches);
    VerifiedScores few =
        Verification.builder().forwards(19).build().verify(model, batches, estimates);
    // 9 edges on 2 batches, one best for two random ones.
    assertThat(few.top()).hasSize(3);
    assertThat(few.sample()).hasSize(6);
    assertThat(few.isComplete()).isFalse();
    VerifiedScores hasty =
        Verification.builder().time(Duration.ofNanos(1)).build().verify(model, batches, estimates);
    assertThat(hasty.top().size() + hasty.sample().size()).isEqualTo(6);
    VerifiedScores slow =
        Verification.builder()
            .time(Duration.ofMinutes(10))
            .build()
            .verify(model, batches, estimates);
    assertThat(slow.isComplete()).isTrue();
    assertThatIllegalArgumentException()
        .isThrownBy(
            () -> Verification.builder().forwards(1).build().verify(model, batches, estimates))
        .withMessage("forwards: expected at least one for each of 2 batches, got 1");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Verification.builder().top(0).sample(0).build());
    assertThatIllegalArgumentException()
        .isThrownBy(
            () ->
                Verification.builder()
                    .build()
                    .verify(
                        model,
                        batches,
                        PruneScores.filled(ModelGraph.of(new MicroModelConfig(1), true, false), 1)))
        .withMessageContaining("another");
  }

  @Test
  void everyEdgePatchedLeavesNothingToChance() {
    PruneScores estimates = MaskGradient.builder().build().pruneScores(model, batches);
    PruneScores exact = EdgeActivationPatching.builder().build().pruneScores(model, batches);
    int n = estimates.size();
    VerifiedScores verified =
        Verification.builder().top(10).sample(n).build().verify(model, batches, estimates);
    Interval pearson = verified.pearson();
    assertThat(pearson.low()).isEqualTo(pearson.value()).isEqualTo(pearson.high());
    assertThat(pearson.value()).isCloseTo(pearson(estimates, exact), within(1e-9));
    Set<Integer> trueBest = new HashSet<>();
    exact.top(10).forEach(edge -> trueBest.add(model.graph().index(edge.edge())));
    estimates.top(10).forEach(edge -> trueBest.remove(model.graph().index(edge.edge())));
    assertThat(verified.expectedMissed()).isEqualTo(trueBest.size());
  }

  private static double pearson(PruneScores a, PruneScores b) {
    double[] x = a.toArray();
    double[] y = b.toArray();
    double meanX = Arrays.stream(x).average().orElseThrow();
    double meanY = Arrays.stream(y).average().orElseThrow();
    double xy = 0;
    double xx = 0;
    double yy = 0;
    for (int i = 0; i < x.length; i++) {
      xy += (x[i] - meanX) * (y[i] - meanY);
      xx += (x[i] - meanX) * (x[i] - meanX);
      yy += (y[i] - meanY) * (y[i] - meanY);
    }
    return xy / Math.sqrt(xx * yy);
  }

  /** Draws many samples of a population whose every effect is known. */
  @Test
  void figuresOfSamplesAreRightOnAverageAndIntervalsHold() {
    ModelGraph graph =
        ModelGraph.of(
            TransformerConfig.builder().nLayers(3).dModel(8).nHeads(4).dVocab(9).nCtx(8).build(),
            true,
            true);
    int n = graph.nEdges();
    Random random = new Random(5);
    double[] exact = new double[n];
    double[] estimates = new double[n];
    for (int i = 0; i < n; i++) {
      exact[i] = random.nextGaussian();
      estimates[i] = 2 * exact[i] + 2 * random.nextGaussian();
    }
    PruneScores scores = PruneScores.of(graph, estimates);
    PruneScores truth = PruneScores.of(graph, exact);
    int top = 15;
    Set<Integer> missed = new HashSet<>();
    truth.top(top).forEach(edge -> missed.add(graph.index(edge.edge())));
    scores.top(top).forEach(edge -> missed.remove(graph.index(edge.edge())));
    double pearson = pearson(scores, truth);
    int trials = 200;
    int held = 0;
    double sumMissed = 0;
    double sumPearson = 0;
    for (int trial = 0; trial < trials; trial++) {
      List<VerifiedEdge> best =
          scores.top(top).stream()
              .map(e -> new VerifiedEdge(e.edge(), e.score(), truth.get(e.edge())))
              .toList();
      Set<Integer> chosen = new HashSet<>();
      best.forEach(edge -> chosen.add(graph.index(edge.edge())));
      List<VerifiedEdge> sample = new ArrayList<>();
      Arrays.stream(SeededShuffle.order(n, trial))
          .filter(edge -> !chosen.contains(edge))
          .limit(60)
          .forEach(
              edge ->
                  sample.add(
                      new VerifiedEdge(graph.edge(edge), scores.get(edge), truth.get(edge))));
      VerifiedScores verified = new VerifiedScores(scores, best, sample, top, 60, trial);
      Interval interval = verified.pearson();
      held += interval.low() <= pearson && pearson <= interval.high() ? 1 : 0;
      sumPearson += interval.value();
      sumMissed += verified.expectedMissed();
      assertThat(verified.slope()).isBetween(0.1, 0.5); // 0.25 by construction
    }
    assertThat(sumPearson / trials).isCloseTo(pearson, within(0.02));
    assertThat(sumMissed / trials).isCloseTo(missed.size(), within(1.0));
    assertThat((double) held / trials).isBetween(0.88, 1.0);
  }

  /** Values of scipy 1.17: pearsonr and spearmanr of the same numbers, repeated by weight. */
  @Test
  void weightsCountAsRepetitions() {
    double[] x = {1, 2, 2, 5, -3};
    double[] y = {2, 1, 4, 4, -1};
    double[] weights = {1, 2, 1, 3, 2};
    double[] xs = {1, 2, 2, 2, 5, 5, 5, -3, -3};
    double[] ys = {2, 1, 1, 4, 4, 4, 4, -1, -1};
    double[] ones = new double[9];
    Arrays.fill(ones, 1);
    assertThat(Correlation.pearson(x, y, weights))
        .isCloseTo(0.9084133969253574, within(1e-12))
        .isCloseTo(Correlation.pearson(xs, ys, ones), within(1e-12));
    assertThat(Correlation.spearman(x, y, weights))
        .isCloseTo(0.858528044816866, within(1e-12))
        .isCloseTo(Correlation.spearman(xs, ys, ones), within(1e-12));
    assertThat(Correlation.pearson(new double[] {1, 1}, new double[] {1, 2}, new double[] {1, 1}))
        .isNaN();
  }
}
