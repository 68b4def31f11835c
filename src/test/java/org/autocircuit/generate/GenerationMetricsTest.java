package org.autocircuit.generate;

import static java.util.stream.Collectors.counting;
import static java.util.stream.Collectors.groupingBy;
import static java.util.stream.Collectors.summingLong;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.micrometer.core.instrument.Meter;
import io.micrometer.core.instrument.Statistic;
import io.micrometer.observation.Observation;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.ToLongFunction;
import java.util.stream.StreamSupport;
import jdk.jfr.consumer.RecordedEvent;
import org.assertj.core.data.Offset;
import org.autocircuit.exception.NativeException;
import org.autocircuit.exception.QueueFullException;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * One run with many requests, some refused, cancelled, late or failing, seen by all who look: JDK
 * Flight Recorder, a listener, meters, observations, the generator's state and those who asked.
 */
@Timeout(120)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class GenerationMetricsTest {

  private static final List<String> STEP_FIELDS =
      List.of(
          "rows",
          "decodeRows",
          "prefillTokens",
          "largestChunk",
          "patchedRows",
          "maskSets",
          "donors");
  private static final Set<FinishReason> ENDS =
      EnumSet.of(
          FinishReason.STOP_TOKEN,
          FinishReason.STOP_TEXT,
          FinishReason.GUARD,
          FinishReason.LENGTH,
          FinishReason.CONTEXT);
  private static final Offset<Double> NEAR = within(1e-6);
  @TempDir static Path folder;

  private MeteredRun run;

  @BeforeAll
  void run() throws IOException, InterruptedException {
    run = new MeteredRun(folder);
  }

  private static <T> Map<String, Long> count(Collection<T> all, Function<T, String> name) {
    return all.stream().collect(groupingBy(name, counting()));
  }

  private static <T> long sum(Collection<T> all, ToLongFunction<T> value) {
    return all.stream().mapToLong(value).sum();
  }

  private List<RecordedEvent> events(String name) {
    return run.events.stream()
        .filter(event -> event.getEventType().getName().equals("org.autocircuit." + name))
        .toList();
  }

  private static String low(Object value) {
    return value.toString().toLowerCase(Locale.ROOT);
  }

  private static String value(Observation.Context span, String key) {
    return span.getAllKeyValues().stream()
        .filter(each -> each.getKey().equals(key))
        .findFirst()
        .orElseThrow()
        .getValue();
  }

  /** Sums a statistic of all meters of a name, by the value of a tag. */
  private Map<String, Long> meters(String name, Statistic statistic, String tag) {
    Map<String, Long> sums =
        run.registry.find(name).meters().stream()
            .collect(
                groupingBy(
                    meter -> String.valueOf(meter.getId().getTag(tag)),
                    summingLong(meter -> Math.round(statistic(meter, statistic)))));
    sums.values().removeIf(value -> value == 0);
    return sums;
  }

  private static double statistic(Meter meter, Statistic statistic) {
    return StreamSupport.stream(meter.measure().spliterator(), false)
        .filter(each -> each.getStatistic() == statistic)
        .findFirst()
        .orElseThrow()
        .getValue();
  }

  private long meter(String name, Statistic statistic) {
    return meters(name, statistic, "").getOrDefault("null", 0L);
  }

  /** Without these the rest would say little. */
  @Test
  void allKindsOfEndsAndRefusalsHappened() {
    assertThat(count(run.results, result -> result.reason().name()))
        .containsOnlyKeys("LENGTH", "CONTEXT", "GUARD", "CANCELLED", "DEADLINE", "UNREAD", "ERROR");
    assertThat(count(run.refused, each -> each.getClass().getSimpleName()))
        .containsOnlyKeys("QueueFullException", "DoesNotFitException");
    assertThat(run.taken).hasSizeGreaterThan(20); // the faster submissions come, the fewer
    assertThat(run.tally.steps).anyMatch(step -> step.decodeRows() > 1 && step.maskSets() > 0);
    assertThat(run.engine.failed).isGreaterThan(2);
    assertThat(run.taken.stream().flatMap(each -> each.failure().stream()))
        .hasAtLeastOneElementOfType(NativeException.class)
        .hasAtLeastOneElementOfType(IllegalStateException.class);
  }

  @Test
  void generatorMetersGetThem() {
    assertThat(meter("autocircuit.generator.waiting", Statistic.VALUE)).isZero();
    assertThat(meter("autocircuit.generator.active", Statistic.VALUE)).isZero();
    assertThat(meters("autocircuit.generator.kv.bytes", Statistic.VALUE, "state"))
        .isEqualTo(Map.of("free", run.state.kvLimit()));
    assertThat(meters("autocircuit.workspace.bytes", Statistic.VALUE, "state"))
        .containsOnlyKeys("held", "peak");
    assertThat(meters("autocircuit.generator.finished", Statistic.COUNT, "reason"))
        .isEqualTo(count(run.results, result -> low(result.reason())));
    assertThat(meters("autocircuit.generator.refused", Statistic.COUNT, "reason"))
        .isEqualTo(count(run.refused, GenerationMetricsTest::reason));
    assertThat(meter("autocircuit.generator.tokens", Statistic.COUNT))
        .isEqualTo(sum(run.results, result -> result.tokens().size()));
    assertThat(meters("autocircuit.generator.steps", Statistic.COUNT, "state"))
        .isEqualTo(
            Map.of(
                "ok", (long) run.tally.steps.size(), "failed", (long) run.tally.failures.size()));
  }

  private static String reason(RuntimeException refusal) {
    return refusal instanceof QueueFullException ? "queue_full" : "does_not_fit";
  }

  @Test
  void whoAskedSeesWhatAListenerSees() {
    assertThat(run.tally.submitted).containsExactlyInAnyOrderElementsOf(run.taken);
    assertThat(run.tally.finished).containsExactlyInAnyOrderElementsOf(run.taken);
    assertThat(count(run.tally.reasons, Enum::name))
        .isEqualTo(count(run.results, r -> r.reason().name()));
    assertThat(run.tally.refused).containsExactlyInAnyOrderElementsOf(run.refused);
    assertThat(run.tally.withToken)
        .containsExactlyInAnyOrderElementsOf(
            run.taken.stream().filter(each -> !each.tokens().isEmpty()).toList());
    assertThat(run.tally.failures).hasSize(run.engine.failed);
    assertThat(run.tally.steps).hasSize(run.engine.succeeded);
  }

  @Test
  void theStateCountsThem() {
    run.state
        .finished()
        .forEach(
            (reason, number) ->
                assertThat(run.tally.reasons.stream().filter(reason::equals).count())
                    .as("%s", reason)
                    .isEqualTo(number));
    assertThat(run.state.tokens()).isEqualTo(sum(run.results, result -> result.tokens().size()));
    assertThat(run.state.steps()).isEqualTo(run.engine.succeeded);
    assertThat(run.state.failedSteps()).isEqualTo(run.engine.failed);
    assertThat(run.state.refusedFull() + run.state.refusedSize()).isEqualTo(run.refused.size());
  }

  @Test
  void flightRecorderGetsThem() {
    List<RecordedEvent> requests = events("Generation");
    assertThat(count(requests, event -> event.getString("finishReason")))
        .isEqualTo(count(run.results, result -> result.reason().name()));
    assertThat(count(requests, event -> event.getString("patch")))
        .isEqualTo(count(run.taken, each -> each.request().patch().kind()));
    assertThat(requests)
        .extracting(event -> event.getInt("tokens"))
        .containsExactlyInAnyOrderElementsOf(
            run.results.stream().map(result -> result.tokens().size()).toList());
    assertThat(requests)
        .extracting(event -> event.getLong("queueTime"))
        .containsExactlyInAnyOrderElementsOf(
            run.results.stream().map(result -> result.waited().toNanos()).toList());
    assertThat(requests)
        .extracting(event -> event.getLong("timeToFirstToken"))
        .containsExactlyInAnyOrderElementsOf(
            run.results.stream()
                .map(result -> result.toFirstToken().map(Duration::toNanos).orElse(Long.MIN_VALUE))
                .toList());
    assertThat(count(events("Refusal"), event -> event.getString("reason")))
        .isEqualTo(count(run.refused, GenerationMetricsTest::reason));
    assertThat(events("Failure")).hasSize(run.engine.failed);

    List<RecordedEvent> steps = events("GenerationStep");
    assertThat(steps)
        .extracting(event -> STEP_FIELDS.stream().map(event::getInt).toList())
        .containsExactlyInAnyOrderElementsOf(
            run.tally.steps.stream()
                .map(
                    step ->
                        List.of(
                            step.rows(),
                            step.decodeRows(),
                            step.prefillTokens(),
                            step.largestChunk(),
                            step.patchedRows(),
                            step.maskSets(),
                            step.donors()))
                .toList());
    assertThat(steps).allMatch(event -> event.getDuration().toNanos() > 0);
  }

  @Test
  void requestMetersGetThem() {
    String duration = "gen_ai.server.request.duration";
    assertThat(meters(duration, Statistic.COUNT, "autocircuit.finish_reason"))
        .isEqualTo(count(run.results, result -> low(result.reason())));
    assertThat(meters(duration, Statistic.COUNT, "autocircuit.patch.kind"))
        .isEqualTo(count(run.taken, each -> each.request().patch().kind()));
    assertThat(meters(duration, Statistic.COUNT, "error.type"))
        .isEqualTo(
            count(
                run.taken,
                each -> each.failure().map(thrown -> thrown.getClass().getName()).orElse("none")));
    assertThat(seconds(duration)).isCloseTo(seconds(run.results, GenerationResult::total), NEAR);

    String first = "gen_ai.server.time_to_first_token";
    assertThat(meter(first, Statistic.COUNT)).isEqualTo(run.tally.withToken.size());
    assertThat(seconds(first))
        .isCloseTo(
            seconds(run.results, result -> result.toFirstToken().orElse(Duration.ZERO)), NEAR);
    assertThat(meter("gen_ai.server.time_per_output_token", Statistic.COUNT))
        .isEqualTo(
            run.results.stream()
                .filter(result -> result.tokens().size() > 1 && ENDS.contains(result.reason()))
                .count());

    assertThat(meters("gen_ai.client.token.usage", Statistic.TOTAL, "gen_ai.token.type"))
        .isEqualTo(
            Map.of(
                "input", sum(run.tally.withToken, each -> each.request().promptLength()),
                "output", sum(run.results, result -> result.tokens().size())));
    assertThat(meters("autocircuit.generator.step.tokens", Statistic.TOTAL, "phase"))
        .isEqualTo(
            Map.of(
                "prefill", sum(run.tally.steps, StepReport::prefillTokens),
                "decode", sum(run.tally.steps, StepReport::decodeRows)));
    assertThat(meter("autocircuit.generator.step.duration", Statistic.COUNT))
        .isEqualTo(run.tally.steps.size());
  }

  private double seconds(String timers) {
    return run.registry.find(timers).timers().stream()
        .mapToDouble(timer -> timer.totalTime(TimeUnit.SECONDS))
        .sum();
  }

  private static double seconds(
      List<GenerationResult> results, Function<GenerationResult, Duration> duration) {
    return sum(results, result -> duration.apply(result).toNanos()) / 1e9;
  }

  @Test
  void eachRequestIsAnObservation() {
    assertThat(count(run.spans, span -> value(span, "autocircuit.finish_reason")))
        .isEqualTo(count(run.results, result -> low(result.reason())));
    assertThat(count(run.spans, span -> value(span, "autocircuit.donor")))
        .isEqualTo(
            count(
                run.taken, each -> each.request().patch().donor().map(d -> low(d)).orElse("none")));
    assertThat(sum(run.spans, span -> Long.parseLong(value(span, "gen_ai.usage.output_tokens"))))
        .isEqualTo(sum(run.results, result -> result.tokens().size()));
    assertThat(run.spans.stream().map(Observation.Context::getError).filter(Objects::nonNull))
        .containsExactlyInAnyOrderElementsOf(
            run.taken.stream().flatMap(each -> each.failure().stream()).toList());
    assertThat(run.spanEvents)
        .hasSameSizeAs(run.tally.withToken)
        .containsOnly("autocircuit.first_token");
  }

  @Test
  void nobodyIsToldAWordOfThePrompt() {
    List<String> told = new ArrayList<>();
    run.events.stream()
        .filter(event -> event.getEventType().getName().startsWith("org.autocircuit."))
        .forEach(event -> told.add(event.toString()));
    run.registry.getMeters().forEach(meter -> told.add(meter.getId().toString()));
    run.spans.forEach(span -> told.add(span.getName() + span.getAllKeyValues()));
    run.taken.forEach(each -> told.add(each.toString()));
    assertThat(told).hasSizeGreaterThan(run.taken.size());
    for (String word : MeteredRun.PROMPT.split(" ")) {
      if (word.length() > 3) {
        assertThat(told).noneMatch(text -> text.contains(word));
      }
    }
  }
}
