package org.autocircuit.metrics;

import io.micrometer.core.instrument.DistributionSummary;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.Timer;
import java.time.Duration;
import java.util.EnumSet;
import java.util.Objects;
import java.util.Set;
import org.autocircuit.generate.FinishReason;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationListener;
import org.autocircuit.generate.GenerationResult;
import org.autocircuit.generate.StepReport;

/**
 * Meters of the requests and steps of a generator, whose listener this is. Their names are those of
 * OpenTelemetry's semantic conventions for generative AI, as far as these go.
 *
 * <ul>
 *   <li>{@code gen_ai.server.request.duration}: of all requests that were taken, from {@code
 *       submit} to the end; with {@code autocircuit.patch.kind}, {@code autocircuit.finish_reason}
 *       and {@code error.type}, the class of what failed or {@code none}.
 *   <li>{@code gen_ai.server.time_to_first_token}: from {@code submit} on, of requests with a
 *       token.
 *   <li>{@code gen_ai.server.time_per_output_token}: behind the first one, of answers of two tokens
 *       and more that came to an end of their own, not by cancelling or lateness.
 *   <li>{@code gen_ai.client.token.usage}, {@code gen_ai.token.type} {@code input} or {@code
 *       output}: of requests with a token.
 *   <li>{@code autocircuit.generator.step.tokens}, {@code phase} {@code prefill} or {@code decode}:
 *       tokens of prompts in a step, donors included, and answers that got one.
 *   <li>{@code autocircuit.generator.step.duration}: of the passes alone.
 * </ul>
 *
 * <p>All have the model's name as {@code gen_ai.request.model}. A listener may serve any number of
 * generators, on any threads. No meter has anything of a prompt or an answer.
 */
public final class RequestMetrics implements GenerationListener {

  private static final Set<FinishReason> CUT_OFF =
      EnumSet.of(
          FinishReason.CANCELLED, FinishReason.DEADLINE, FinishReason.UNREAD, FinishReason.ERROR);

  private final MeterRegistry registry;
  private final String modelName;
  private final Tags model;
  private final Timer timeToFirstToken;
  private final Timer timePerOutputToken;
  private final DistributionSummary inputTokens;
  private final DistributionSummary outputTokens;
  private final DistributionSummary prefillTokens;
  private final DistributionSummary decodeTokens;
  private final Timer stepDuration;

  /**
   * Makes meters in a registry.
   *
   * @param modelName what the generator's model is called in tags
   */
  public RequestMetrics(MeterRegistry registry, String modelName) {
    this.registry = Objects.requireNonNull(registry, "registry");
    this.modelName = modelName;
    model = Names.of(modelName);
    timeToFirstToken = timer(Names.TIME_TO_FIRST_TOKEN, Names.TIME_TO_FIRST_TOKEN_BUCKETS);
    timePerOutputToken = timer(Names.TIME_PER_OUTPUT_TOKEN, Names.TIME_PER_OUTPUT_TOKEN_BUCKETS);
    inputTokens = usage("input");
    outputTokens = usage("output");
    prefillTokens = stepTokens("prefill");
    decodeTokens = stepTokens("decode");
    stepDuration =
        Timer.builder(Names.STEP_DURATION).tags(Tags.of(Names.MODEL, modelName)).register(registry);
  }

  private Timer timer(String name, Duration[] buckets) {
    return Timer.builder(name).tags(model).serviceLevelObjectives(buckets).register(registry);
  }

  private DistributionSummary usage(String type) {
    return DistributionSummary.builder(Names.TOKEN_USAGE)
        .tags(model.and(Names.TOKEN_TYPE, type))
        .baseUnit("tokens")
        .serviceLevelObjectives(Names.TOKEN_USAGE_BUCKETS)
        .register(registry);
  }

  private DistributionSummary stepTokens(String phase) {
    return DistributionSummary.builder(Names.STEP_TOKENS)
        .tags(Tags.of(Names.MODEL, modelName, Names.PHASE, phase))
        .baseUnit("tokens")
        .register(registry);
  }

  @Override
  public void finished(Generation generation, FinishReason reason) {
    GenerationResult result = generation.ended().orElseThrow();
    Timer.builder(Names.REQUEST_DURATION)
        .tags(model)
        .tags(Names.PATCH_KIND, generation.request().patch().kind())
        .tags(Names.FINISH_REASON, Names.of(reason))
        .tags(Names.ERROR_TYPE, errorType(generation))
        .serviceLevelObjectives(Names.REQUEST_DURATION_BUCKETS)
        .register(registry)
        .record(result.total());
    int tokens = result.chosen();
    result
        .toFirstToken()
        .ifPresent(
            toFirst -> {
              timeToFirstToken.record(toFirst);
              inputTokens.record(generation.request().promptLength());
              outputTokens.record(tokens);
              if (tokens > 1 && !CUT_OFF.contains(reason)) {
                timePerOutputToken.record(result.total().minus(toFirst).dividedBy(tokens - 1));
              }
            });
  }

  private static String errorType(Generation generation) {
    return generation.failure().map(thrown -> thrown.getClass().getName()).orElse(Names.NONE);
  }

  @Override
  public void stepped(StepReport step) {
    prefillTokens.record(step.prefillTokens());
    decodeTokens.record(step.decodeRows());
    stepDuration.record(step.duration());
  }
}
