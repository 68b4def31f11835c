/**
 * Pruning of the latents of sparse autoencoders.
 *
 * <p>Keeps the 20 latents of each autoencoder that matter most to prompts:
 *
 * <pre>{@code
 * List<PromptPairBatch> prompts = model.batches(ExampleModel.prompts(), 16);
 * try (Model plain = Checkpoints.load(Path.of("gpt2"));
 *     Model whole = Checkpoints.withAutoencoders(plain, Path.of("autoencoders"), false);
 *     Model pruned = LatentPruning.builder().maxLatents(20).build().prune(whole, prompts)) {
 *   System.out.println(pruned.config());
 * }
 * }</pre>
 */
package org.autocircuit.sae;
