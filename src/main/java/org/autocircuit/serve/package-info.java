/**
 * Answers prompts over HTTP: a {@link org.autocircuit.generate.Generator} behind OpenAI's
 * completions, on the JDK's own server, with patches and steering for each request.
 *
 * <pre>{@code
 * try (Generator generator = model.generator().build();
 *     CompletionServer server = CompletionServer.builder(model, generator).port(8080).start()) {
 *   System.out.println(server.uri());
 *   System.in.read();
 * }
 * }</pre>
 */
package org.autocircuit.serve;
