package org.autocircuit.metrics;

import io.micrometer.common.KeyValues;
import io.micrometer.observation.Observation;
import io.micrometer.observation.ObservationRegistry;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import org.autocircuit.generate.FinishReason;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationListener;
import org.autocircuit.generate.GenerationPatch;

/**
 * One observation, {@code autocircuit.generation}, for each request of a generator, whose listener
 * this is; with a tracing handler it becomes a span. Its parent is the observation that is current
 * where the request is submitted. It ends with the request, and has an event at the first token.
 *
 * <p>Key values are those of {@link RequestMetrics}, {@code autocircuit.donor}, and of high
 * cardinality {@code autocircuit.edges}, {@code gen_ai.usage.input_tokens} and {@code
 * gen_ai.usage.output_tokens}; what failed is its error. It has no prompt and no tokens. A listener
 * may serve any number of generators, on any threads.
 */
public final class RequestObservations implements GenerationListener {

  private final ObservationRegistry registry;
  private final String modelName;
  private final Map<Generation, Observation> running = new ConcurrentHashMap<>();

  /**
   * Makes observations in a registry.
   *
   * @param modelName what the generator's model is called in key values
   */
  public RequestObservations(ObservationRegistry registry, String modelName) {
    this.registry = Objects.requireNonNull(registry, "registry");
    this.modelName = Objects.requireNonNull(modelName, "modelName");
  }

  /**
   * Returns the observation of a request, so that code that works on its tokens can open a scope of
   * it; empty: the request has ended.
   */
  public Optional<Observation> of(Generation generation) {
    return Optional.ofNullable(running.get(generation));
  }

  @Override
  public void submitted(Generation generation) {
    if (registry.isNoop()) {
      return;
    }
    GenerationPatch patch = generation.request().patch();
    Observation observation =
        Observation.createNotStarted(Names.SPAN, registry)
            .contextualName(Names.spanOf(modelName))
            .lowCardinalityKeyValues(
                KeyValues.of(Names.of(modelName), tag -> tag.getKey(), tag -> tag.getValue()))
            .lowCardinalityKeyValue(Names.PATCH_KIND, patch.kind())
            .lowCardinalityKeyValue(Names.DONOR, patch.donor().map(Names::of).orElse(Names.NONE))
            .highCardinalityKeyValue(Names.EDGES, String.valueOf(patch.edges()))
            .highCardinalityKeyValue(
                Names.INPUT_TOKENS, String.valueOf(generation.request().promptLength()));
    running.put(generation, observation.start());
  }

  @Override
  public void firstToken(Generation generation) {
    of(generation).ifPresent(each -> each.event(Observation.Event.of(Names.FIRST_TOKEN)));
  }

  @Override
  public void finished(Generation generation, FinishReason reason) {
    Observation observation = running.remove(generation);
    if (observation == null) {
      return;
    }
    observation
        .lowCardinalityKeyValue(Names.FINISH_REASON, Names.of(reason))
        .highCardinalityKeyValue(
            Names.OUTPUT_TOKENS, String.valueOf(generation.ended().orElseThrow().chosen()));
    generation.failure().ifPresent(observation::error);
    observation.stop();
  }
}
