/**
 * Texts to tokens and back, as a model's {@code tokenizer.json} says.
 *
 * <pre>{@code
 * try (Tokenizer tokenizer = Tokenizer.load(Path.of("gpt2"))) {
 *   long[] ids = tokenizer.encode("When Mary and John");
 *   System.out.println(tokenizer.tokens("When Mary and John") + " " + ids.length);
 * }
 * }</pre>
 */
package org.autocircuit.tokenizer;
