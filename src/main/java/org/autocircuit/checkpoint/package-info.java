/**
 * Models on disk: Hugging Face folders, one class for each family of them, GGUF and safetensors
 * files.
 *
 * <pre>{@code
 * try (Model model = Checkpoints.load(Path.of("gpt2"))) {
 *   Checkpoints.save(model, Path.of("copy"));
 * }
 * }</pre>
 */
package org.autocircuit.checkpoint;
