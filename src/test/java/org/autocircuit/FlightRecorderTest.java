package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.checkpoint.Checkpoints;
import org.autocircuit.checkpoint.LoadOptions;
import org.autocircuit.exception.NativeException;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeSequence;
import org.autocircuit.internal.StopFlag;
import org.autocircuit.internal.run.Passes;
import org.autocircuit.internal.run.StepChunk;
import org.autocircuit.internal.run.Steps;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.IncrementalRun;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Tests what JDK Flight Recorder gets to see. */
class FlightRecorderTest {

  @TempDir Path folder;

  @Test
  void passesAndLoadsAreRecorded() throws IOException {
    Path saved = folder.resolve("model");
    try (Model model = TestModels.transformer(Precision.FLOAT64, true, 1)) {
      Checkpoints.save(model, saved);
    }
    List<RecordedEvent> events = recorded(() -> work(saved));

    RecordedEvent load = only(events, "Load");
    assertThat(load.getString("model")).isEqualTo("Model model");
    assertThat(load.getString("path")).isEqualTo(saved.toString());
    assertThat(load.getString("precision")).isEqualTo("FLOAT64");
    assertThat(load.getString("device")).isEqualTo("cpu");
    assertThat(load.getLong("bytes")).isGreaterThan(8 * 31 * 16);
    assertThat(load.getDuration()).isPositive();

    List<RecordedEvent> forwards = all(events, "Forward");
    assertThat(forwards).hasSize(4);
    assertForward(forwards.get(0), false, true);
    assertForward(forwards.get(1), false, false);
    assertForward(forwards.get(2), true, false);

    assertThat(forwards.get(3).getLong("batch")).isEqualTo(64);

    RecordedEvent gradient = only(events, "Gradient");
    assertThat(gradient.getString("model")).isEqualTo("PatchableModel of Model model");
    assertThat(gradient.getLong("batch")).isEqualTo(2);

    RecordedEvent workspace = all(events, "Workspace").get(0);
    assertThat(workspace.getLong("after")).isGreaterThan(workspace.getLong("before"));
  }

  /** Each run of a search is a pass, as whole ones are; refused calls are not. */
  @Test
  void incrementalRunsAreRecorded() throws IOException {
    int batch = 64;
    ModelGraph other = ModelGraph.of(TestModels.MICRO, true, true);
    try (PatchableModel model = TestModels.patchable();
        SourceActivations activations =
            model.sourceAblations(TestModels.tokens(batch, 5, 1), BatchAblation.RESAMPLE);
        PointerScope scope = new PointerScope();
        IncrementalRun run =
            model.incrementalRun(
                ModelInput.ofPrompts(TestModels.tokens(batch, 5, 2), "cpu"),
                PatchContext.of(activations, Masks.uniform(model.graph(), 0)))) {
      List<RecordedEvent> events =
          recorded(
              () -> {
                run.withMasks(EdgeSet.of(model.graph(), 0), 1).logits();
                IncrementalRun.Candidate candidate = run.withMasks(EdgeSet.of(model.graph(), 1), 1);
                candidate.logits();
                candidate.commit();
                assertThatIllegalArgumentException()
                    .isThrownBy(() -> run.withMasks(EdgeSet.of(other, 0), 1));
              });
      List<RecordedEvent> forwards = all(events, "Forward");
      assertThat(forwards).hasSize(2);
      for (RecordedEvent event : forwards) {
        assertThat(event.getString("model")).isEqualTo(model.toString());
        assertThat(event.getLong("batch")).isEqualTo(batch);
        assertThat(event.getLong("seq")).isEqualTo(5);
        assertThat(event.getBoolean("patched")).isTrue();
        assertThat(event.getBoolean("recorded")).isFalse();
        assertThat(event.getBoolean("sources")).isFalse();
        assertThat(event.getDuration()).isPositive();
      }
    }
  }

  /** Native code refuses a step that has a sequence twice; refused prompts are no failure. */
  @Test
  void failedPassesAreRecorded() throws IOException {
    try (PatchableModel model = TestModels.patchable();
        StopFlag stop = new StopFlag()) {
      Steps steps = Access.patchableModel(PatchableModel.class, Passes.class).passes(model).steps();
      try (NativeSequence sequence = steps.newSequence(4, false);
          CallScope scope = new CallScope()) {
        StepChunk chunk = StepChunk.plain(sequence, 0, new long[] {1}, true, false);
        List<RecordedEvent> events =
            recorded(
                () -> {
                  assertThatIllegalArgumentException()
                      .isThrownBy(() -> model.logits(new long[][] {{-1}}));
                  assertThatExceptionOfType(NativeException.class)
                      .isThrownBy(
                          () ->
                              steps.run(scope, List.of(chunk, chunk), List.of(), List.of(), stop));
                });
        RecordedEvent failure = only(events, "Failure");
        assertThat(failure.getString("model")).isEqualTo(model.toString());
        assertThat(failure.getString("message")).contains("is in a step already");
      }
    }
  }

  private List<RecordedEvent> recorded(Runnable work) throws IOException {
    try (Recording recording = new Recording()) {
      for (String name : List.of("Forward", "Gradient", "Load", "Workspace", "Failure")) {
        recording.enable("org.autocircuit." + name);
      }
      recording.start();
      work.run();
      recording.stop();
      recording.dump(folder.resolve("events.jfr"));
      return RecordingFile.readAllEvents(folder.resolve("events.jfr"));
    }
  }

  private static void assertForward(RecordedEvent event, boolean patched, boolean sources) {
    assertThat(event.getString("model")).isEqualTo("PatchableModel of Model model");
    assertThat(event.getLong("batch")).isEqualTo(2);
    assertThat(event.getLong("seq")).isEqualTo(5);
    assertThat(event.getBoolean("patched")).isEqualTo(patched);
    assertThat(event.getBoolean("sources")).isEqualTo(sources);
    assertThat(event.getBoolean("recorded")).isFalse();
    assertThat(event.getDuration()).isPositive();
  }

  private static void work(Path saved) {
    long[][] prompts = TestModels.tokens(2, 5, 1);
    try (PatchableModel model =
            PatchableModel.open(
                saved,
                LoadOptions.DEFAULT.withPrecision(Precision.FLOAT64),
                PatchableModelOptions.defaults());
        SourceActivations activations = model.sourceAblations(prompts, BatchAblation.RESAMPLE);
        PointerScope scope = new PointerScope()) {
      PatchContext context = PatchContext.of(activations, Masks.uniform(model.graph(), 0.5));
      model.logits(prompts);
      model.logits(prompts, context);
      // Large enough for the pool.
      model.logits(TestModels.tokens(64, 5, 1));
      model.maskGradient(
          prompts,
          context,
          AnswerLoss.of(
              GradFunction.LOGIT,
              AnswerFunction.AVG_VAL,
              new long[][] {{1}, {2}},
              new long[][] {{2}, {3}}));
    }
  }

  private static List<RecordedEvent> all(List<RecordedEvent> events, String name) {
    return events.stream()
        .filter(event -> event.getEventType().getName().equals("org.autocircuit." + name))
        .toList();
  }

  private static RecordedEvent only(List<RecordedEvent> events, String name) {
    List<RecordedEvent> found = all(events, name);
    assertThat(found).as(name).hasSize(1);
    return found.get(0);
  }
}
