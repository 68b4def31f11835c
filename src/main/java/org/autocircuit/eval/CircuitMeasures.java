package org.autocircuit.eval;

import java.util.Collection;
import java.util.Locale;
import java.util.function.ToDoubleFunction;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.StateReader;
import org.autocircuit.internal.StateWriter;
import org.autocircuit.internal.Stop;
import org.autocircuit.patch.Use;

/**
 * Says how well a circuit, or a whole model, does a task. Means over prompts.
 *
 * @param logitDifference logit of the answer less that of the wrong answers, see {@link
 *     AnswerMetrics#differences}
 * @param klDivergence divergence from the full model on the clean prompts in nats, see {@link
 *     KlDivergence}
 * @param accuracy share of prompts whose most probable token is an answer, 0 to 1
 * @param accuracyAmongGiven share of prompts whose answer beats all wrong answers, 0 to 1
 */
public record CircuitMeasures(
    double logitDifference, double klDivergence, double accuracy, double accuracyAmongGiven) {

  /** The measures, rounded. */
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "logit difference %.3f, KL divergence %.4f nats, accuracy %.1f %%, %.1f %% above the wrong answers",
        logitDifference,
        klDivergence,
        100 * accuracy,
        100 * accuracyAmongGiven);
  }

  /**
   * The share of the full model's logit difference that the circuit recovers, counted from that of
   * no edge: 0 for none, 1 for the full model, more where leaving out edges helps the answer; not
   * finite where both are equal.
   */
  public double recovered(CircuitMeasures fullModel, CircuitMeasures empty) {
    return (logitDifference - empty.logitDifference)
        / (fullModel.logitDifference - empty.logitDifference);
  }

  /**
   * The measures of the full model on clean prompts, as a yardstick. The divergence is 0.
   *
   * @throws IllegalArgumentException if there are no batches, or the model's output is not that of
   *     one position
   */
  public static CircuitMeasures ofModel(
      PatchableModel model, Collection<? extends PromptPairBatch> batches) {
    Sum sum = new Sum();
    try (Use use = model.use()) {
      for (PromptPairBatch batch : batches) {
        Stop.check();
        Logits outputs = CircuitPasses.fullModel(model, batch.clean());
        sum.add(outputs, outputs, batch);
      }
    }
    return sum.mean();
  }

  /**
   * The means of several measures, for instance of several random circuits.
   *
   * @throws IllegalArgumentException without any measures
   */
  public static CircuitMeasures mean(Collection<CircuitMeasures> measures) {
    return new CircuitMeasures(
        mean(measures, CircuitMeasures::logitDifference),
        mean(measures, CircuitMeasures::klDivergence),
        mean(measures, CircuitMeasures::accuracy),
        mean(measures, CircuitMeasures::accuracyAmongGiven));
  }

  private static double mean(
      Collection<CircuitMeasures> measures, ToDoubleFunction<CircuitMeasures> measure) {
    return measures.stream()
        .mapToDouble(measure)
        .average()
        .orElseThrow(() -> new IllegalArgumentException("expected at least one measure, got none"));
  }

  /** Adds up batches; for one thread. */
  static final class Sum {

    private double logitDifference;
    private double klDivergence;
    private int correct;
    private int correctAmongGiven;
    private int prompts;

    void add(Logits outputs, Logits fullModel, PromptPairBatch batch) {
      long[][] answers = batch.answers();
      long[][] wrong = batch.wrongAnswers();
      for (double difference :
          AnswerMetrics.differences(outputs, answers, wrong, AnswerScale.LOGIT)) {
        logitDifference += difference;
      }
      for (boolean top : AnswerMetrics.isTop(outputs, answers)) {
        correct += top ? 1 : 0;
      }
      for (boolean beats : AnswerMetrics.beatsWrong(outputs, answers, wrong)) {
        correctAmongGiven += beats ? 1 : 0;
      }
      klDivergence += KlDivergence.sum(outputs, fullModel);
      prompts += batch.size();
    }

    void addTo(StateWriter state) {
      state.add(logitDifference).add(klDivergence);
      state.add(correct).add(correctAmongGiven).add(prompts);
    }

    void restore(StateReader state) {
      logitDifference = state.next();
      klDivergence = state.next();
      correct = (int) state.nextCount(Integer.MAX_VALUE);
      correctAmongGiven = (int) state.nextCount(Integer.MAX_VALUE);
      prompts = (int) state.nextCount(Integer.MAX_VALUE);
    }

    boolean isEmpty() {
      return prompts == 0;
    }

    CircuitMeasures mean() {
      if (prompts == 0) {
        throw new IllegalArgumentException("expected at least one batch of prompts, got none");
      }
      return new CircuitMeasures(
          logitDifference / prompts,
          Math.max(klDivergence / prompts, 0),
          (double) correct / prompts,
          (double) correctAmongGiven / prompts);
    }
  }
}
