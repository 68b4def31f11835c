/**
 * Makes inputs of models: clean and corrupt prompts with their answers, cut into batches of tokens,
 * and a generator of sentences to train a small model on.
 *
 * <p>Writes prompts of one's own to a file that every command takes as {@code --prompts}:
 *
 * <pre>{@code
 * PromptPair pair =
 *     new PromptPair(
 *         "When Mary and John left, John thanked",
 *         "When Mary and John left, Mary thanked",
 *         List.of(" Mary"),
 *         List.of(" John"));
 * new PromptDataset(List.of(pair)).write(Path.of("pairs.json"));
 * }</pre>
 */
package org.autocircuit.data;
