package org.autocircuit.metrics;

import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.binder.MeterBinder;
import java.util.Objects;
import java.util.function.ToDoubleFunction;
import org.autocircuit.Workspaces;
import org.autocircuit.generate.FinishReason;
import org.autocircuit.generate.Generator;
import org.autocircuit.generate.GeneratorState;

/**
 * Meters of what a generator is at and has done, read when somebody looks. Those of its requests
 * and steps are {@link RequestMetrics}'.
 *
 * <ul>
 *   <li>{@code autocircuit.generator.waiting}, {@code .active}: requests in the queue, and that
 *       run.
 *   <li>{@code autocircuit.generator.kv.bytes}, {@code state} {@code reserved} or {@code free}: of
 *       the memory for keys, values and masks; together all there is.
 *   <li>{@code autocircuit.generator.refused}, {@code reason} {@code queue_full} or {@code
 *       does_not_fit}.
 *   <li>{@code autocircuit.generator.finished}, {@code reason} a {@link FinishReason} in lower
 *       case.
 *   <li>{@code autocircuit.generator.tokens}: of all answers.
 *   <li>{@code autocircuit.generator.steps}, {@code state} {@code ok} or {@code failed}.
 *   <li>{@code autocircuit.workspace.bytes}, {@code state} {@code held} (in use or idle) or {@code
 *       peak} (in use at most): of {@link Workspaces}, which all models of the process share.
 * </ul>
 *
 * <p>All but the last have the model's name as the tag {@code gen_ai.request.model}: generators of
 * one registry need different ones. Registries keep no generator from being collected.
 */
public final class GeneratorMetrics implements MeterBinder {

  private final Generator generator;
  private final Tags model;

  /**
   * Makes meters of a generator.
   *
   * @param modelName what the generator's model is called in tags
   */
  public GeneratorMetrics(Generator generator, String modelName) {
    this.generator = Objects.requireNonNull(generator, "generator");
    model = Tags.of(Names.MODEL, modelName);
  }

  @Override
  public void bindTo(MeterRegistry registry) {
    gauge(registry, Names.WAITING, "requests", Tags.empty(), GeneratorState::waiting);
    gauge(registry, Names.ACTIVE, "requests", Tags.empty(), GeneratorState::active);
    Tags reserved = Tags.of(Names.STATE, "reserved");
    gauge(registry, Names.KV_BYTES, "bytes", reserved, GeneratorState::kvReserved);
    Tags free = Tags.of(Names.STATE, "free");
    gauge(registry, Names.KV_BYTES, "bytes", free, state -> state.kvLimit() - state.kvReserved());

    Tags full = Tags.of(Names.REASON, "queue_full");
    count(registry, Names.REFUSED, "requests", full, GeneratorState::refusedFull);
    Tags size = Tags.of(Names.REASON, "does_not_fit");
    count(registry, Names.REFUSED, "requests", size, GeneratorState::refusedSize);
    for (FinishReason reason : FinishReason.values()) {
      Tags why = Tags.of(Names.REASON, Names.of(reason));
      count(registry, Names.FINISHED, "requests", why, state -> state.finished().get(reason));
    }
    count(registry, Names.TOKENS, "tokens", Tags.empty(), GeneratorState::tokens);
    count(registry, Names.STEPS, "steps", Tags.of(Names.STATE, "ok"), GeneratorState::steps);
    Tags failed = Tags.of(Names.STATE, "failed");
    count(registry, Names.STEPS, "steps", failed, GeneratorState::failedSteps);

    workspaces(registry, "held", each -> Workspaces.bytes());
    workspaces(registry, "peak", each -> Workspaces.peakBytes());
  }

  private void gauge(
      MeterRegistry registry,
      String name,
      String unit,
      Tags tags,
      ToDoubleFunction<GeneratorState> value) {
    Gauge.builder(name, generator, from -> value.applyAsDouble(from.state()))
        .tags(model.and(tags))
        .baseUnit(unit)
        .register(registry);
  }

  private void count(
      MeterRegistry registry,
      String name,
      String unit,
      Tags tags,
      ToDoubleFunction<GeneratorState> value) {
    FunctionCounter.builder(name, generator, from -> value.applyAsDouble(from.state()))
        .tags(model.and(tags))
        .baseUnit(unit)
        .register(registry);
  }

  private static void workspaces(
      MeterRegistry registry, String state, ToDoubleFunction<Class<?>> value) {
    Gauge.builder(Names.WORKSPACE_BYTES, Workspaces.class, value::applyAsDouble)
        .tags(Tags.of(Names.STATE, state))
        .baseUnit("bytes")
        .register(registry);
  }
}
