package org.autocircuit.pass;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.exception.NativeException;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.IncrementalRun.Candidate;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class IncrementalRunTest {

  private static final long[][] CLEAN = TestModels.tokens(2, 5, 1);
  private static final long[][] CORRUPT = TestModels.tokens(2, 5, 2);

  /** Begins as the clean prompts: there nothing is computed. */
  private static final long[][] HALF_CORRUPT =
      IntStream.range(0, CLEAN.length)
          .mapToObj(
              i ->
                  LongStream.concat(Arrays.stream(CLEAN[i], 0, 3), Arrays.stream(CORRUPT[i], 3, 5))
                      .toArray())
          .toArray(long[][]::new);

  @ParameterizedTest
  @EnumSource(OutputSlice.class)
  void runsThatAreKeptAndNotAreThoseOfTheirMasks(OutputSlice slice) {
    assertRunsAreThoseOfTheirMasks(CORRUPT, slice);
  }

  @ParameterizedTest
  @EnumSource(OutputSlice.class)
  void runsOfPairsThatShareTheirBeginningAreThoseOfTheirMasks(OutputSlice slice) {
    assertRunsAreThoseOfTheirMasks(HALF_CORRUPT, slice);
  }

  private static void assertRunsAreThoseOfTheirMasks(long[][] prompts, OutputSlice slice) {
    PatchableModelOptions options = PatchableModelOptions.defaults();
    try (PatchableModel model = TestModels.patchable(Precision.FLOAT64, options);
        PointerScope scope = new PointerScope();
        SourceActivations corrupt = model.sourceAblations(prompts, BatchAblation.RESAMPLE)) {
      ModelInput clean = ModelInput.ofPrompts(CLEAN, TestDevice.NAME);
      BitSet patched = new BitSet();
      Random random = new Random(3);
      try (IncrementalRun run =
          model.incrementalRun(clean, context(model, corrupt, patched), slice)) {
        assertSame(run.logits(), model, clean, context(model, corrupt, patched), slice);
        for (int i = 0; i < 30; i++) {
          BitSet edges = new BitSet();
          for (int n = 0; n <= i % 3; n++) {
            edges.set(random.nextInt(model.graph().nEdges()));
          }
          BitSet more = (BitSet) patched.clone();
          more.or(edges);
          Candidate candidate = run.withMasks(EdgeSet.ofIndices(model.graph(), edges), 1);
          assertSame(candidate.logits(), model, clean, context(model, corrupt, more), slice);
          if (random.nextBoolean()) {
            candidate.commit();
            patched = more;
            assertSame(run.logits(), model, clean, context(model, corrupt, patched), slice);
          }
        }
      }
    }
  }

  @Test
  void outlivesModelAndActivations() {
    try (PointerScope scope = new PointerScope()) {
      PatchableModel model = TestModels.patchable();
      SourceActivations corrupt = model.sourceAblations(CORRUPT, BatchAblation.RESAMPLE);
      ModelInput clean = ModelInput.ofPrompts(CLEAN, TestDevice.NAME);
      PatchContext none = context(model, corrupt, new BitSet());
      EdgeSet edges = EdgeSet.ofNames(model.graph(), List.of("MLP 0->Resid End"));
      try (IncrementalRun run = model.incrementalRun(clean, none)) {
        Tensor before = run.withMasks(edges, 1).logits();
        model.close();
        corrupt.close();
        assertThat(run.withMasks(edges, 1).logits().equal(before)).isTrue();
        assertThat(run.withMasks(edges, 0.5).logits().equal(before)).isFalse();
      }
      assertThatThrownBy(() -> model.incrementalRun(clean, none))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("closed");
    }
  }

  @Test
  void anyCandidateOfTheBaselineMayBeCommittedAndNoOtherOne() {
    try (PatchableModel model = TestModels.patchable();
        PointerScope scope = new PointerScope();
        SourceActivations corrupt = model.sourceAblations(CORRUPT, BatchAblation.RESAMPLE);
        IncrementalRun run =
            model.incrementalRun(
                ModelInput.ofPrompts(CLEAN, TestDevice.NAME),
                context(model, corrupt, new BitSet()))) {
      Tensor first = run.logits();
      EdgeSet fromMlp = EdgeSet.ofNames(model.graph(), List.of("MLP 0->Resid End"));
      EdgeSet fromHead = EdgeSet.ofNames(model.graph(), List.of("A0.1->Resid End"));
      Candidate one = run.withMasks(fromMlp, 1);
      Candidate other = run.withMasks(fromHead, 1);
      Candidate third = run.withMasks(fromHead, 0.5);
      Tensor expected = one.logits();
      other.logits();
      assertThat(run.logits().equal(first)).isTrue();
      one.commit(); // not the last that ran
      assertThat(run.logits().equal(expected)).isTrue();
      for (Candidate stale : List.of(one, other, third)) {
        assertThatIllegalStateException()
            .isThrownBy(stale::commit)
            .withMessageContaining("stale: the baseline has changed");
        assertThatIllegalStateException().isThrownBy(stale::logits);
      }
      assertThat(run.logits().equal(expected)).isTrue();
      run.withMasks(fromHead, 1).commit(); // without having been asked for its logits
      assertThat(run.logits().equal(expected)).isFalse();
    }
  }

  @Test
  void logitsAreTheCallersAndWeightsThatChangeAreSaid() {
    try (Model weights = TestModels.transformer(Precision.FLOAT32, true, 1);
        PatchableModel model = PatchableModel.of(weights, PatchableModelOptions.defaults());
        PointerScope scope = new PointerScope();
        SourceActivations corrupt = model.sourceAblations(CORRUPT, BatchAblation.RESAMPLE);
        IncrementalRun run =
            model.incrementalRun(
                ModelInput.ofPrompts(CLEAN, TestDevice.NAME),
                context(model, corrupt, new BitSet()))) {
      EdgeSet edges = EdgeSet.ofNames(model.graph(), List.of("MLP 0->Resid End"));
      Tensor before = run.logits().clone();
      run.logits().zero_();
      assertThat(run.logits().equal(before)).isTrue();
      Candidate candidate = run.withMasks(edges, 1);
      Tensor after = candidate.logits().clone();
      candidate.logits().zero_();
      candidate.commit();
      assertThat(run.logits().equal(after)).isTrue();
      weights.weights().values().iterator().next().mul_(new Scalar(2));
      assertThatThrownBy(() -> run.withMasks(edges, 0).logits())
          .isInstanceOf(NativeException.class)
          .hasMessageContaining("were changed in place");
    }
  }

  /** Each run is about its own masks, whoever runs another one meanwhile. */
  @Test
  void threadsTakeTurns() {
    try (PatchableModel model = TestModels.patchable();
        PointerScope scope = new PointerScope();
        SourceActivations corrupt = model.sourceAblations(CORRUPT, BatchAblation.RESAMPLE);
        IncrementalRun run =
            model.incrementalRun(
                ModelInput.ofPrompts(CLEAN, TestDevice.NAME),
                context(model, corrupt, new BitSet()))) {
      List<Tensor> alone =
          IntStream.range(0, 40)
              .mapToObj(edge -> run.withMasks(EdgeSet.of(model.graph(), edge), 1).logits())
              .toList();
      IntStream.range(0, 40)
          .parallel()
          .forEach(
              edge -> {
                try (PointerScope own = new PointerScope()) {
                  assertThat(
                          run.withMasks(EdgeSet.of(model.graph(), edge), 1)
                              .logits()
                              .equal(alone.get(edge)))
                      .isTrue();
                }
              });
    }
  }

  @Test
  void contextsAndEdgesThatDoNotFit() {
    PatchableModelOptions positions = PatchableModelOptions.defaults().withSeqLen(5);
    try (PatchableModel model = TestModels.patchable();
        PatchableModel other = TestModels.patchable(Precision.FLOAT32, positions);
        PointerScope scope = new PointerScope();
        SourceActivations corrupt = model.sourceAblations(CORRUPT, BatchAblation.RESAMPLE)) {
      ModelInput clean = ModelInput.ofPrompts(CLEAN, TestDevice.NAME);
      PatchContext none = context(model, corrupt, new BitSet());
      double[][] masks = new double[2][model.graph().maskSize()];
      for (PatchContext context :
          List.of(
              PatchContext.NONE,
              none.toBuilder().maskFn(MaskFn.SIGMOID).build(),
              PatchContext.of(corrupt, Masks.perExample(model.graph(), masks)))) {
        assertThatIllegalArgumentException()
            .isThrownBy(() -> model.incrementalRun(clean, context))
            .withMessageContaining("context: expected one that patches");
      }
      ModelInput longer = ModelInput.ofPrompts(TestModels.tokens(2, 4, 1), TestDevice.NAME);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> model.incrementalRun(longer, none))
          .withMessageContaining("source activations");
      IncrementalRun run = model.incrementalRun(clean, none);
      try (run) {
        assertThatIllegalArgumentException()
            .isThrownBy(() -> run.withMasks(EdgeSet.of(other.graph(), 0), 1))
            .withMessageContaining("edges: expected those of");
      }
      Candidate candidate = run.withMasks(EdgeSet.of(model.graph(), 0), 1);
      assertThatIllegalStateException()
          .isThrownBy(candidate::logits)
          .withMessageContaining("IncrementalRun is closed");
      assertThatIllegalStateException()
          .isThrownBy(candidate::commit)
          .withMessageContaining("IncrementalRun is closed");
    }
  }

  private static PatchContext context(
      PatchableModel model, SourceActivations corrupt, BitSet patched) {
    return PatchContext.of(corrupt, Masks.ofEdges(EdgeSet.ofIndices(model.graph(), patched)));
  }

  private static void assertSame(
      Tensor logits,
      PatchableModel model,
      ModelInput clean,
      PatchContext context,
      OutputSlice slice) {
    ForwardRequest whole =
        ForwardRequest.of(clean)
            .withContext(context)
            .withOutputSlice(slice)
            .withPlanPolicy(PlanPolicy.REFERENCE)
            .withGrad(false);
    assertThat(logits.allclose(model.forward(whole).logits(), 1e-9, 1e-9, false)).isTrue();
  }
}
