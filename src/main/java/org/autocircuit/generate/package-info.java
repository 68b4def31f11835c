/**
 * Answers token by token, each request with a circuit and an ablation of its own.
 *
 * <p>Continues two prompts in the same passes, one of them without a head:
 *
 * <pre>{@code
 * Masks masks = Masks.ofNames(model.graph(), List.of("A3.0->Resid End"));
 * GenerationRequest plain = GenerationRequest.of(model.tokens("When Mary and John went to"));
 * try (Generator generator = model.generator().build();
 *     Generation first = generator.submit(plain);
 *     Generation second = generator.submit(plain.withPatch(GenerationPatch.zero(masks)))) {
 *   first.forEach(token -> System.out.println(model.tokenizer().show(token.id())));
 *   second.forEach(token -> System.out.println(model.tokenizer().show(token.id())));
 * }
 * }</pre>
 */
package org.autocircuit.generate;
