/**
 * Models whose circuit is known since their weights were written by hand: {@link
 * org.autocircuit.known.KnownModel} has weights, prompts and the edges that do the task, to measure
 * algorithms with.
 *
 * <pre>{@code
 * KnownModel known = KnownModel.of(KnownTask.INDUCTION, false);
 * try (Model plain = known.model();
 *     PatchableModel model = PatchableModel.of(plain, PatchableModelOptions.defaults())) {
 *   EdgeSet truth = known.truth(model.graph());
 * }
 * }</pre>
 */
package org.autocircuit.known;
