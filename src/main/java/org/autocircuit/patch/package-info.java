/**
 * Says what patches a forward pass: source activations, masks, mask functions and noise, gathered
 * in a context.
 *
 * <p>Keeps a circuit and patches all other edges with means over prompts:
 *
 * <pre>{@code
 * PatchableModel patchable = model.model();
 * List<PromptPairBatch> prompts = model.batches(ExampleModel.prompts(), 16);
 * EdgeSet circuit = EdgeSet.ofNames(model.graph(), List.of("A3.0->Resid End"));
 * try (SourceActivations means =
 *     patchable.sourceAblations(prompts, DatasetAblation.TOKENWISE_MEAN_CORRUPT)) {
 *   PatchContext context = PatchContext.of(means, Masks.of(circuit, PatchType.TREE_PATCH));
 *   float[][] logits = patchable.logits(prompts.get(0).clean(), context);
 * }
 * }</pre>
 */
package org.autocircuit.patch;
