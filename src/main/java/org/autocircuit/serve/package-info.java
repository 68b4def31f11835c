/**
 * Answers prompts over HTTP: a {@link org.autocircuit.generate.Generator} behind OpenAI's
 * completions, on the JDK's own server, with patches and steering for each request.
 */
package org.autocircuit.serve;
