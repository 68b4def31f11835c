/**
 * Lets people try circuits in a browser: the page of a circuit, served to this machine with the
 * engine behind it.
 *
 * <pre>{@code
 * Scored scored =
 *     new Scored("eap", "logits", ScoreSign.SIGNED, "", model.discover(ExampleModel.prompts()));
 * try (Generator generator = model.generator().build();
 *     ExploreServer server =
 *         ExploreServer.builder(model, generator, ExampleModel.prompts(), "eap", scored).start()) {
 *   System.out.println(server.uri());
 *   System.in.read();
 * }
 * }</pre>
 */
package org.autocircuit.explore;
