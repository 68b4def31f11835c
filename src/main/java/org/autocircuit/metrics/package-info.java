/**
 * Generators seen through Micrometer: meters and traces. Needs {@code
 * io.micrometer:micrometer-core}, which programs bring along themselves.
 *
 * <pre>{@code
 * MeterRegistry registry = new SimpleMeterRegistry();
 * try (Generator generator =
 *     model.generator().listener(new RequestMetrics(registry, "gpt2")).build()) {
 *   new GeneratorMetrics(generator, "gpt2").bindTo(registry);
 * }
 * }</pre>
 */
package org.autocircuit.metrics;
