package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.known.KnownModel;
import org.autocircuit.known.KnownTask;
import org.autocircuit.model.Model;
import org.autocircuit.prune.EdgeActivationPatching;
import org.autocircuit.prune.GroundTruthPruneScores;
import org.autocircuit.prune.PruneScores;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class SmallestCircuitTest {

  private static final KnownModel KNOWN = KnownModel.of(KnownTask.INDUCTION, false);
  private static final List<PromptPairBatch> BATCHES = KNOWN.batches(48);
  private static final Evaluation LOGITS =
      Evaluation.of(PromptMetric.answerDifference(AnswerScale.LOGIT));

  private static PatchableModel model;

  @BeforeAll
  static void open() {
    try (Model plain = KNOWN.model()) {
      model = PatchableModel.of(plain, PatchableModelOptions.defaults());
    }
  }

  @AfterAll
  static void close() {
    model.close();
  }

  @Test
  void exactScoresNeedTheKnownCircuitAndNoMore() {
    PruneScores exact = EdgeActivationPatching.builder().build().pruneScores(model, BATCHES);
    for (boolean signed : new boolean[] {false, true}) {
      SmallestCircuit found = SmallestCircuit.find(LOGITS, model, BATCHES, exact, 0.999, signed);
      assertThat(found.circuit()).isEqualTo(KNOWN.truth(model.graph()));
      assertThat(found.faithfulness()).isGreaterThan(0.999);
      assertThat(found.tried().get(found.circuit().size() - 1)).isLessThan(0.999);
      assertThat(found.toString()).startsWith("5 of ").contains("noising", "99.9 % asked for");
    }
  }

  @Test
  void noSmallerCircuitThatWasTriedRecoversTheShare() {
    PruneScores scores = PruneScores.of(model.graph(), indices());
    SmallestCircuit found = SmallestCircuit.find(LOGITS, model, BATCHES, scores, 0.5, false);
    int size = found.circuit().size();
    assertThat(found.circuit()).isEqualTo(scores.circuit(size));
    assertThat(found.tried().headMap(size)).isNotEmpty().allSatisfy((k, f) -> below(f));
    assertThat(found.tried()).containsKeys(0, size - 1, size, model.graph().nEdges());
    assertThat(found.tried()).hasSizeLessThan(12);
  }

  private static void below(double faithfulness) {
    assertThat(faithfulness).isLessThan(0.5);
  }

  /** A ranking in which all ties are broken. */
  private static double[] indices() {
    double[] scores = new double[model.graph().nEdges()];
    for (int i = 0; i < scores.length; i++) {
      scores[i] = 1 + i;
    }
    return scores;
  }

  @Test
  void edgesAgainstTheAnswerComeLastWhereRankingIsSigned() {
    double[] against = GroundTruthPruneScores.of(model.graph(), truth()).toArray();
    for (int i = 0; i < against.length; i++) {
      against[i] *= -1;
    }
    PruneScores scores = PruneScores.of(model.graph(), against);
    int n = model.graph().nEdges();
    assertThat(size(scores, false)).isEqualTo(5);
    assertThat(size(scores, true)).isGreaterThan(n - 5);
  }

  private static List<Edge> truth() {
    return KNOWN.truth(model.graph()).edges();
  }

  private static int size(PruneScores scores, boolean signed) {
    return SmallestCircuit.find(LOGITS, model, BATCHES, scores, 0.99, signed).circuit().size();
  }

  @Test
  void badArgumentsAreRefused() {
    PruneScores scores = PruneScores.of(model.graph(), indices());
    for (double share : new double[] {0, -1, 1.01, Double.NaN}) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> SmallestCircuit.find(LOGITS, model, BATCHES, scores, share, false))
          .withMessageContaining("share: expected above 0");
    }
    double[] nan = indices();
    nan[3] = Double.NaN;
    assertThatIllegalArgumentException()
        .isThrownBy(
            () ->
                SmallestCircuit.find(
                    LOGITS, model, BATCHES, PruneScores.of(model.graph(), nan), 0.5, false))
        .withMessageContaining("NaN");
    Evaluation constant =
        Evaluation.of(PromptMetric.named("constant", (logits, batch) -> new double[batch.size()]));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> SmallestCircuit.find(constant, model, BATCHES, scores, 0.5, false))
        .withMessageContaining("say nothing");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> SmallestCircuit.find(LOGITS, model, List.of(), scores, 0.5, false));
  }

  @Test
  void everythingRecoversEverything() {
    PruneScores scores = PruneScores.of(model.graph(), indices());
    SmallestCircuit found = SmallestCircuit.find(LOGITS, model, BATCHES, scores, 1, false);
    assertThat(found.faithfulness()).isGreaterThanOrEqualTo(1);
    assertThat(found.circuit().size()).isLessThanOrEqualTo(EdgeSet.all(model.graph()).size());
  }
}
