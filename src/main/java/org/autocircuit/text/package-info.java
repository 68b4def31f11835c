/**
 * Text in, text out: a model with its tokenizer, next tokens, patches and circuits of prompts. The
 * way in for programs that have prompts rather than tensors.
 *
 * <p>Finds a circuit and asks what is left of an answer:
 *
 * <pre>{@code
 * try (TextModel model = ExampleModel.open()) {
 *   Circuit circuit = model.circuit(model.discover(ExampleModel.prompts()), 150);
 *   System.out.println(model.measure(circuit, ExampleModel.prompts()));
 * }
 * }</pre>
 */
package org.autocircuit.text;
