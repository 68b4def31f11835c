package org.autocircuit.serve;

import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.autocircuit.generate.FinishReason;
import org.autocircuit.generate.GeneratorState;

/** The state of a generator in the text format of Prometheus, version 0.0.4. */
final class Metrics {

  /** The format's media type. */
  static final String MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8";

  private static final String PREFIX = "autocircuit_generator_";

  private final StringBuilder text = new StringBuilder();

  private Metrics() {}

  static String of(GeneratorState state) {
    Metrics metrics = new Metrics();
    metrics.gauge("waiting", "Requests in the queue.", state.waiting());
    metrics.gauge("active", "Requests that run.", state.active());
    metrics.gauge("kv_reserved_bytes", "Bytes set aside for what runs.", state.kvReserved());
    metrics.gauge("kv_limit_bytes", "The most bytes that are.", state.kvLimit());
    metrics.counter("steps_total", "Passes run.", state.steps());
    metrics.counter("failed_steps_total", "Passes that failed.", state.failedSteps());
    metrics.counter("tokens_total", "Tokens of all answers.", state.tokens());
    metrics.counters(
        "refused_total",
        "Requests refused.",
        Map.of("queue_full", state.refusedFull(), "does_not_fit", state.refusedSize()));
    Map<String, Long> finished = new TreeMap<>();
    for (FinishReason reason : FinishReason.values()) {
      finished.put(
          reason.name().toLowerCase(Locale.ROOT), state.finished().getOrDefault(reason, 0L));
    }
    metrics.counters("finished_total", "Answers by why they ended.", finished);
    return metrics.text.toString();
  }

  private void gauge(String name, String help, long value) {
    head(name, help, "gauge");
    line(name, "", value);
  }

  private void counter(String name, String help, long value) {
    head(name, help, "counter");
    line(name, "", value);
  }

  private void counters(String name, String help, Map<String, Long> byReason) {
    head(name, help, "counter");
    new TreeMap<>(byReason)
        .forEach((reason, count) -> line(name, "{reason=\"%s\"}".formatted(reason), count));
  }

  private void head(String name, String help, String type) {
    text.append("# HELP ").append(PREFIX).append(name).append(' ').append(help).append('\n');
    text.append("# TYPE ").append(PREFIX).append(name).append(' ').append(type).append('\n');
  }

  private void line(String name, String labels, long value) {
    text.append(PREFIX).append(name).append(labels).append(' ').append(value).append('\n');
  }
}
