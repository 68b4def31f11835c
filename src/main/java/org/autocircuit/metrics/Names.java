package org.autocircuit.metrics;

import io.micrometer.core.instrument.Tag;
import io.micrometer.core.instrument.Tags;
import java.time.Duration;
import java.util.Locale;
import java.util.stream.DoubleStream;

/**
 * The names of meters, tags and spans. Those that begin with {@code gen_ai} and {@code error}, and
 * the borders of buckets, are those of OpenTelemetry's semantic conventions for generative AI,
 * version 0.1.0 of the repository semantic-conventions-genai, whose status is "Development"; what
 * they change is changed here.
 */
final class Names {

  static final String REQUEST_DURATION = "gen_ai.server.request.duration";
  static final String TIME_TO_FIRST_TOKEN = "gen_ai.server.time_to_first_token";
  static final String TIME_PER_OUTPUT_TOKEN = "gen_ai.server.time_per_output_token";
  static final String TOKEN_USAGE = "gen_ai.client.token.usage";

  static final Duration[] REQUEST_DURATION_BUCKETS =
      seconds(.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92);
  static final Duration[] TIME_TO_FIRST_TOKEN_BUCKETS =
      seconds(.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10);
  static final Duration[] TIME_PER_OUTPUT_TOKEN_BUCKETS =
      seconds(.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5);
  static final double[] TOKEN_USAGE_BUCKETS =
      DoubleStream.iterate(1, tokens -> 4 * tokens).limit(14).toArray();

  static final String MODEL = "gen_ai.request.model";
  static final String TOKEN_TYPE = "gen_ai.token.type";
  static final String ERROR_TYPE = "error.type";
  static final String INPUT_TOKENS = "gen_ai.usage.input_tokens";
  static final String OUTPUT_TOKENS = "gen_ai.usage.output_tokens";
  private static final String OPERATION = "gen_ai.operation.name";
  private static final String COMPLETION = "text_completion";
  private static final String PROVIDER = "gen_ai.provider.name";

  static final String SPAN = "autocircuit.generation";
  static final String FIRST_TOKEN = "autocircuit.first_token";
  static final String FINISH_REASON = "autocircuit.finish_reason";
  static final String PATCH_KIND = "autocircuit.patch.kind";
  static final String DONOR = "autocircuit.donor";
  static final String EDGES = "autocircuit.edges";

  static final String WAITING = "autocircuit.generator.waiting";
  static final String ACTIVE = "autocircuit.generator.active";
  static final String KV_BYTES = "autocircuit.generator.kv.bytes";
  static final String REFUSED = "autocircuit.generator.refused";
  static final String FINISHED = "autocircuit.generator.finished";
  static final String TOKENS = "autocircuit.generator.tokens";
  static final String STEPS = "autocircuit.generator.steps";
  static final String STEP_TOKENS = "autocircuit.generator.step.tokens";
  static final String STEP_DURATION = "autocircuit.generator.step.duration";
  static final String WORKSPACE_BYTES = "autocircuit.workspace.bytes";
  static final String STATE = "state";
  static final String REASON = "reason";
  static final String PHASE = "phase";

  /** The value of tags and span attributes that do not apply. */
  static final String NONE = "none";

  private Names() {}

  /** Returns the tags that the conventions ask of all meters of a model. */
  static Tags of(String modelName) {
    return Tags.of(
        Tag.of(OPERATION, COMPLETION), Tag.of(PROVIDER, "autocircuit"), Tag.of(MODEL, modelName));
  }

  /** Returns the name of a request in traces. */
  static String spanOf(String modelName) {
    return COMPLETION + " " + modelName;
  }

  static String of(Enum<?> value) {
    return value.name().toLowerCase(Locale.ROOT);
  }

  private static Duration[] seconds(double... values) {
    return DoubleStream.of(values)
        .mapToObj(value -> Duration.ofNanos(Math.round(value * 1e9)))
        .toArray(Duration[]::new);
  }
}
