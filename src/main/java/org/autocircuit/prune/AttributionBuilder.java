package org.autocircuit.prune;

import java.util.Collection;
import java.util.Objects;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.Settings;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;

/**
 * Collects the settings that all algorithms share which add up gradients times differences of
 * activations: the loss, and what edges are patched with. Not safe for use by several threads.
 *
 * @param <B> the builder of the algorithm
 */
public abstract class AttributionBuilder<B extends AttributionBuilder<B>> {

  GradFunction gradFunction = GradFunction.LOGIT;
  AnswerFunction answerFunction = AnswerFunction.AVG_DIFF;
  Ablation ablation = BatchAblation.RESAMPLE;
  CleanCorrupt patchInput = CleanCorrupt.CORRUPT;
  final Settings settings = new Settings();

  AttributionBuilder() {}

  abstract B self();

  /** Sets what is done to the logits; by default nothing. */
  public B gradFunction(GradFunction value) {
    gradFunction = Objects.requireNonNull(value, "gradFunction");
    return self();
  }

  /**
   * Sets what is done to the answers' values; by default the difference of right and wrong ones.
   *
   * @throws IllegalArgumentException for {@link AnswerFunction#MSE}, which needs targets
   */
  public B answerFunction(AnswerFunction value) {
    if (Objects.requireNonNull(value, "answerFunction") == AnswerFunction.MSE) {
      throw new IllegalArgumentException("answerFunction: expected one of answers, got MSE");
    }
    answerFunction = value;
    return self();
  }

  /**
   * Sets the answer function that fits the prompts: the difference of right and wrong answers where
   * every pair has wrong ones, else the value of the right ones.
   */
  public B answerFunctionFor(Collection<? extends PromptPairBatch> batches) {
    boolean difference = batches.stream().allMatch(PromptPairBatch::haveWrongAnswers);
    return answerFunction(difference ? AnswerFunction.AVG_DIFF : AnswerFunction.AVG_VAL);
  }

  /** Sets what edges are patched with; by default each prompt's corrupt twin. */
  public B ablation(Ablation value) {
    ablation = Objects.requireNonNull(value, "ablation");
    return self();
  }

  /** Sets the prompts that ablations of single batches are computed from; corrupt by default. */
  public B patchInput(CleanCorrupt value) {
    patchInput = Objects.requireNonNull(value, "patchInput");
    settings.made("patchInput");
    return self();
  }

  /** Gives another algorithm's builder these settings. */
  final <T extends AttributionBuilder<T>> T onto(T other) {
    AttributionBuilder<T> to = other;
    to.gradFunction = gradFunction;
    to.answerFunction = answerFunction;
    to.ablation = ablation;
    to.patchInput = patchInput;
    return other;
  }
}
