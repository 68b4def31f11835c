/**
 * Says what a model is: its structure, its weights, and the precision in which it computes.
 *
 * <p>Computes a folder of weights in half the memory, and looks at its structure:
 *
 * <pre>{@code
 * LoadOptions half = LoadOptions.DEFAULT.withPrecision(Precision.BFLOAT16);
 * try (Model model = Checkpoints.load(Path.of("gpt2"), half)) {
 *   ModelConfig config = model.config();
 *   System.out.println(config.nLayers() + " blocks of " + config.nHeads() + " heads");
 * }
 * }</pre>
 */
package org.autocircuit.model;
