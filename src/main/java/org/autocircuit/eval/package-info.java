/**
 * Measures circuits and judges scores. {@link org.autocircuit.eval.CircuitRuns} runs circuits of
 * several sizes over a data set, {@link org.autocircuit.eval.Evaluation} measures circuits prompt
 * by prompt under conditions that its results name; {@link org.autocircuit.eval.AnswerMetrics} and
 * {@link org.autocircuit.eval.KlDivergence} compare outputs with the right answers and with the
 * full model. {@link org.autocircuit.eval.FaithfulnessCurve}, {@link
 * org.autocircuit.eval.CircuitMinimality}, {@link org.autocircuit.eval.CircuitEquivalence}, {@link
 * org.autocircuit.eval.SameUnderKnockouts} and {@link org.autocircuit.eval.RocCurve} are one metric
 * each. Results are plain Java data.
 *
 * <p>Finds the smallest circuit of scores that recovers 95 % of the logit difference:
 *
 * <pre>{@code
 * PruneScores scores = model.discover(ExampleModel.prompts());
 * Evaluation logits = Evaluation.of(PromptMetric.answerDifference(AnswerScale.LOGIT));
 * SmallestCircuit smallest =
 *     SmallestCircuit.find(
 *         logits, model.model(), model.batches(ExampleModel.prompts(), 16), scores, 0.95, false);
 * System.out.println(smallest.circuit().size() + " edges");
 * }</pre>
 */
package org.autocircuit.eval;
