/**
 * Losses on answers, and gradients of them with respect to masks.
 *
 * <p>Asks how much each edge of a batch matters to the logit of its answers:
 *
 * <pre>{@code
 * PromptPairBatch batch = model.batches(ExampleModel.prompts(), 8).get(0);
 * AnswerLoss loss =
 *     AnswerLoss.of(
 *         GradFunction.LOGIT, AnswerFunction.AVG_DIFF, batch.answers(), batch.wrongAnswers());
 * ModelInput clean = ModelInput.ofPrompts(batch.clean(), "clean");
 * ModelInput corrupt = ModelInput.ofPrompts(batch.corrupt(), "corrupt");
 * MaskGradientResult result =
 *     model.model().maskGradient(EdgeAttribution.resampled(clean, corrupt, loss));
 * }</pre>
 */
package org.autocircuit.attribution;
