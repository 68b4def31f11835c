/**
 * The Python original's context managers: scopes that put a context in force for a thread.
 *
 * <pre>{@code
 * long[][] tokens = {model.tokens("When Mary and John went to the store,")};
 * PatchableModel patchable = model.model();
 * try (SourceActivations zeros = patchable.sourceAblations(tokens, BatchAblation.ZERO);
 *     PatchMode mode = patchable.patchModeByName(zeros, List.of("A3.0->Resid End"))) {
 *   float[][] logits = patchable.logits(tokens);
 * }
 * }</pre>
 */
package org.autocircuit.mode;
