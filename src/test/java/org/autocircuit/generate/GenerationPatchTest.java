package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.List;
import java.util.Set;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Refuses what cannot be kept from token to token, and takes its twin that can. */
class GenerationPatchTest {

  private static final ModelGraph GRAPH = HashEngine.GRAPH;
  private static final Masks MASKS = Masks.uniform(GRAPH, 1);

  private final PointerScope scope = new PointerScope();

  @AfterEach
  void free() {
    scope.close();
  }

  private static SourceActivations activations(int batch, int positions) {
    int size = GRAPH.srcs().size() * batch * positions * 16;
    return SourceActivations.of(
        TensorArrays.of(
            new float[size], ScalarType.Float, "cpu", GRAPH.srcs().size(), batch, positions, 16));
  }

  private static void refused(ThrowingCallable call, String words) {
    assertThatIllegalArgumentException().isThrownBy(call).withMessageContaining(words);
  }

  @Test
  void meansOverWhatRunsTogetherAreRefused() {
    assertThat(GenerationPatch.of(BatchAblation.ZERO, MASKS).kind()).isEqualTo("constant");
    for (BatchAblation mean :
        List.of(BatchAblation.BATCH_ALL_TOK_MEAN, BatchAblation.BATCH_TOKENWISE_MEAN)) {
      refused(
          () -> GenerationPatch.of(mean, MASKS),
          "expected ZERO, got %s: a mean over requests that run together changes".formatted(mean));
    }
    refused(() -> GenerationPatch.of(BatchAblation.RESAMPLE, MASKS), "needs a corrupt prompt");
  }

  @Test
  void activationsOfOnePositionServeAll() {
    try (SourceActivations one = activations(1, 1);
        SourceActivations several = activations(1, 5);
        SourceActivations prompts = activations(2, 1)) {
      assertThat(GenerationPatch.constant(one, MASKS).kind()).isEqualTo("constant");
      refused(() -> GenerationPatch.constant(several, MASKS), "expected one position");
      assertThat(GenerationPatch.positions(several, MASKS, Beyond.NONE).kind())
          .isEqualTo("positions");
      refused(
          () -> GenerationPatch.constant(prompts, MASKS), "those of one prompt, got those of 2");
    }
  }

  @Test
  void whatIsBehindTheLastPositionMustBeSaid() {
    try (SourceActivations five = activations(1, 5)) {
      GenerationRequest request =
          GenerationRequest.of(new long[] {1, 2, 3}).withStop(Stop.after(4));
      RequestChecks checks = HashEngine.checks();
      GenerationPatch refuse = GenerationPatch.positions(five, MASKS, Beyond.REFUSE);
      refused(
          () -> checks.check(request.withPatch(refuse), false),
          "source activations: expected them for 6 positions, got 5");
      checks.check(request.withPatch(refuse).withStop(Stop.after(3)), false);
      checks.check(request.withPatch(refuse.at(Span.PROMPT)), false);
      for (Beyond beyond : List.of(Beyond.NONE, Beyond.HOLD_LAST)) {
        checks.check(request.withPatch(GenerationPatch.positions(five, MASKS, beyond)), false);
      }
      assertThat(GenerationPatch.positions(five, MASKS, Beyond.NONE).phases(3))
          .containsExactly(new GenerationPatch.Phase(0, 5, MASKS));
    }
  }

  @Test
  void masksOfPositionsEndWithTheGraph() {
    ModelGraph five = ModelGraph.of(HashEngine.CONFIG, true, true, 5);
    RequestChecks checks = new RequestChecks(five, HashEngine.CONFIG, Set.of(HashEngine.STREAM));
    GenerationRequest request =
        GenerationRequest.of(new long[] {1, 2, 3})
            .withPatch(GenerationPatch.zero(Masks.uniform(five, 1)));
    refused(
        () -> checks.check(request.withStop(Stop.after(4)), false),
        "the graph has masks for 5 positions");
    checks.check(request.withStop(Stop.after(3)), false);
    refused(
        () -> checks.check(request.withPatch(GenerationPatch.zero(MASKS)), false),
        "masks: expected");
  }

  @Test
  void noiseOfEachPassIsRefused() {
    try (SourceActivations one = activations(1, 1)) {
      PatchContext.Builder builder = PatchContext.builder(one, MASKS);
      assertThat(GenerationPatch.of(PatchContext.NONE)).isSameAs(GenerationPatch.NONE);
      PatchContext drawn = builder.maskFn(MaskFn.HARD_CONCRETE).noise(Noise.seeded(3, 4)).build();
      assertThat(GenerationPatch.of(drawn).maskFn()).isEqualTo(MaskFn.HARD_CONCRETE);
      refused(
          () -> GenerationPatch.of(builder.dropout(0.5).build()),
          "noise that each pass draws again");
      refused(
          () ->
              GenerationPatch.of(PatchContext.builder(one, MASKS).startSourceOutputs(one).build()),
          "no start source outputs");
      Masks examples = Masks.perExample(GRAPH, new double[2][GRAPH.maskSize()]);
      refused(() -> GenerationPatch.of(PatchContext.of(one, examples)), "masks: expected one row");
    }
  }

  @Test
  void spansAndSwitchesCutThePositions() {
    Masks other = Masks.uniform(GRAPH, 0.5);
    GenerationPatch patch = GenerationPatch.zero(MASKS);
    int end = Integer.MAX_VALUE;
    assertThat(patch.phases(3)).containsExactly(new GenerationPatch.Phase(0, end, MASKS));
    assertThat(patch.at(Span.ANSWER).phases(3))
        .containsExactly(new GenerationPatch.Phase(3, end, MASKS));
    assertThat(patch.at(Span.PROMPT).switchedTo(other, 2).phases(3))
        .containsExactly(
            new GenerationPatch.Phase(0, 2, MASKS), new GenerationPatch.Phase(2, 3, other));
    assertThat(patch.at(Span.PROMPT).switchedTo(other, 9).phases(3))
        .containsExactly(new GenerationPatch.Phase(0, 3, MASKS));
    assertThat(patch.at(Span.ANSWER).switchedTo(other, 1).phases(3))
        .containsExactly(new GenerationPatch.Phase(3, end, other));
    refused(() -> GenerationPatch.NONE.switchedTo(other, 1), "expected one that patches");
    refused(() -> Span.until(0), "span: expected an end behind its begin, got 0 to 0");
    refused(() -> patch.switchedTo(other, -1), "position: expected 0 or more, got -1");
  }
}
