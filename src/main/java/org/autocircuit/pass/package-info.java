/**
 * Says what goes into a forward pass and what comes out: inputs, prefixes, requests and results,
 * and runs from which others are computed.
 *
 * <p>Reads what block 2 gets, beside the logits:
 *
 * <pre>{@code
 * ForwardRequest request =
 *     ForwardRequest.of(new long[][] {model.tokens("When Mary and John went to the store,")})
 *         .withReads("blocks.2.hook_resid_pre");
 * try (ForwardResult result = model.model().forward(request)) {
 *   System.out.println(result.read("blocks.2.hook_resid_pre").size(1) + " positions");
 * }
 * }</pre>
 */
package org.autocircuit.pass;
