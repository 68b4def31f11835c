package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.List;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.prune.PruneScores;
import org.junit.jupiter.api.Test;

/** Judging scores, by hand: what the reference data has no example of. */
class ScoreMetricsTest {

  private static final ModelGraph GRAPH = ModelGraph.of(new MicroModelConfig(2), true, false);
  private static final int N = GRAPH.nEdges();

  @Test
  void theAreaIsTheShareOfPairsInOrder() {
    double[] values = new double[N];
    Arrays.setAll(values, i -> i % 5 - 2);
    EdgeSet truth = EdgeSet.of(GRAPH, 0, 3, 5);
    double inOrder = 0;
    for (int right : new int[] {0, 3, 5}) {
      for (int wrong = 0; wrong < N; wrong++) {
        if (!truth.contains(wrong)) {
          inOrder += Math.signum(Math.abs(values[right]) - Math.abs(values[wrong])) / 2 + 0.5;
        }
      }
    }
    RocCurve curve = RocCurve.of(PruneScores.of(GRAPH, values), truth);
    assertThat(curve.area()).isEqualTo(inOrder / 3 / (N - 3), within(1e-12));
    assertThat(curve.points()).hasSize(5); // 0, three absolute scores, all
  }

  @Test
  void edgesWithoutANumberComeLastAndInfiniteOnesFirst() {
    double[] values = new double[N];
    Arrays.fill(values, 1);
    values[2] = Double.NaN;
    values[4] = Double.POSITIVE_INFINITY;
    PruneScores scores = PruneScores.of(GRAPH, values);
    assertThat(RocCurve.of(scores, EdgeSet.of(GRAPH, 4)).area()).isEqualTo(1);
    assertThat(RocCurve.of(scores, EdgeSet.of(GRAPH, 2)).area()).isEqualTo(0);
    PruneScores none = PruneScores.filled(GRAPH, Double.NaN);
    assertThat(RocCurve.of(none, EdgeSet.of(GRAPH, 2)).area()).isEqualTo(0.5);
  }

  @Test
  void aKnownCircuitHasSomeEdges() {
    PruneScores scores = PruneScores.filled(GRAPH, 1);
    assertThatIllegalArgumentException().isThrownBy(() -> RocCurve.of(scores, EdgeSet.none(GRAPH)));
    assertThatIllegalArgumentException().isThrownBy(() -> RocCurve.of(scores, EdgeSet.all(GRAPH)));
    ModelGraph other = ModelGraph.of(new MicroModelConfig(3), true, false);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> RocCurve.of(scores, EdgeSet.of(other, 1)));
  }

  @Test
  void areasNeedTheEmptyCircuit() {
    AreaUnderCurve area = AreaUnderCurve.over(AreaUnderCurve.Axis.LINEAR);
    assertThatIllegalArgumentException().isThrownBy(() -> area.of(List.of()));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> area.of(List.of(new AreaUnderCurve.Point(1, 2))));
    assertThatIllegalArgumentException().isThrownBy(() -> area.withLogarithmicValues(0));
    assertThat(
            area.of(
                List.of(new AreaUnderCurve.Point(0, 1), new AreaUnderCurve.Point(2, Double.NaN))))
        .isNaN();
  }

  @Test
  void correlationsOfScores() {
    double[] values = new double[N];
    Arrays.setAll(values, i -> i * i);
    double[] cubes = new double[N];
    Arrays.setAll(cubes, i -> -i * i * i);
    PruneScores some = PruneScores.of(GRAPH, values);
    assertThat(ScoreSimilarity.pearson(some, some)).isEqualTo(1, within(1e-12));
    assertThat(ScoreSimilarity.spearman(some, PruneScores.of(GRAPH, cubes)))
        .isEqualTo(-1, within(1e-12));
    assertThat(ScoreSimilarity.pearson(some, PruneScores.of(GRAPH, cubes))).isBetween(-0.99, -0.9);
    assertThat(ScoreSimilarity.spearman(some, PruneScores.filled(GRAPH, 3))).isNaN();
    values[3] = Double.NaN;
    assertThat(ScoreSimilarity.spearman(some, PruneScores.of(GRAPH, values))).isNaN();
  }

  /** Ranks of ties are their mean: 1, 2.5, 2.5, 4 against 1, 2, 3, 4 has correlation √0.9. */
  @Test
  void tiesShareTheirRanks() {
    double[] tied = new double[N];
    double[] not = new double[N];
    for (int i = 0; i < N; i++) {
      tied[i] = i < 2 ? i : i - i % 2;
      not[i] = i;
    }
    double[] shared = tied.clone();
    for (int i = 2; i + 1 < N; i += 2) {
      shared[i] = shared[i + 1] = i + 0.5;
    }
    assertThat(ScoreSimilarity.spearman(PruneScores.of(GRAPH, tied), PruneScores.of(GRAPH, not)))
        .isEqualTo(
            ScoreSimilarity.pearson(PruneScores.of(GRAPH, shared), PruneScores.of(GRAPH, not)),
            within(1e-12));
  }

  @Test
  void overlapOfCircuits() {
    double[] values = new double[N];
    Arrays.setAll(values, i -> i + 1);
    double[] reverse = new double[N];
    Arrays.setAll(reverse, i -> i - N);
    PruneScores some = PruneScores.of(GRAPH, values);
    PruneScores others = PruneScores.of(GRAPH, reverse);
    assertThat(ScoreSimilarity.overlap(some, some, 3)).isEqualTo(1);
    assertThat(ScoreSimilarity.overlap(some, others, 3)).isEqualTo(0);
    assertThat(ScoreSimilarity.overlap(some, others, N)).isEqualTo(1);
    assertThatIllegalArgumentException().isThrownBy(() -> ScoreSimilarity.overlap(some, others, 0));
  }

  @Test
  void percentOfTheAnswer() {
    double[] full = {2, 4};
    assertThat(AnswerPercent.ofMeans(new double[] {1, 5}, full)).isEqualTo(100);
    assertThat(AnswerPercent.ofEachPrompt(new double[] {1, 5}, full)).containsExactly(50, 125);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> AnswerPercent.ofMeans(new double[] {1}, full));
  }
}
