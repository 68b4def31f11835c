package org.autocircuit.mode;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.autocircuit.Close.assertClose;
import static org.autocircuit.Close.assertDiffer;

import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.exception.ScopeOrderException;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/**
 * Masks with values of their own for each example: entering, changing and leaving. What passes make
 * of them is in {@link MaskBatchSizePassesTest}.
 */
@SuppressWarnings("MustBeClosedChecker") // It is refused, or closes elsewhere, on purpose.
class MaskBatchSizeTest {

  private static final int BATCH = 3;
  private static final int SEQ = 4;

  private final PointerScope scope = new PointerScope();
  private final PatchableModel model = model(PatchableModelOptions.defaults());
  private final Tensor tokens = TestModels.tokenTensor(BATCH, SEQ, 1);
  private final SourceActivations patch =
      model.sourceAblations(TestModels.tokens(BATCH, SEQ, 2), BatchAblation.RESAMPLE);

  private static PatchableModel model(PatchableModelOptions options) {
    return TestModels.patchable(Precision.FLOAT64, options);
  }

  @AfterEach
  void close() {
    patch.close();
    model.close();
    scope.close();
  }

  private static double[] random(PatchableModel model, long seed) {
    return new Random(seed).doubles(model.graph().maskSize()).toArray();
  }

  private static double[][] rows(PatchableModel model, int examples) {
    double[][] rows = new double[examples][];
    Arrays.setAll(rows, example -> random(model, 100 + example));
    return rows;
  }

  private static double[] flat(double[]... rows) {
    return Arrays.stream(rows).flatMapToDouble(Arrays::stream).toArray();
  }

  @Test
  void everyExampleStartsFromTheSharedValuesWhichComeBack() {
    double[] shared = random(model, 1);
    model.masks().set(shared);
    Tensor before = model.forward(tokens, PatchContext.of(patch, model.masks()));
    try (MaskBatchSize size = model.setMaskBatchSize(BATCH);
        PatchMode mode = model.patchMode(patch)) {
      assertThat(size.parameters()).isSameAs(model.masks());
      assertThat(size.batchSize()).isEqualTo(BATCH);
      assertThat(model.masks().examples()).hasValue(BATCH);
      assertThat(model.masks().tensor().shape()).containsExactly(BATCH, model.graph().maskSize());
      assertThat(model.masks().toArray()).isEqualTo(flat(shared, shared, shared));
      assertClose("shared", model.forward(tokens), before, 1e-14);
      model.masks().set(Masks.perExample(model.graph(), rows(model, BATCH)));
      assertDiffer("masks for each example", model.forward(tokens), before);
    }
    assertThat(model.masks().examples()).isEmpty();
    assertThat(model.masks().toArray()).isEqualTo(shared);
    assertClose("after", model.forward(tokens, PatchContext.of(patch, model.masks())), before, 0);
  }

  @Test
  void changingTheSizeStartsFromTheExamplesInForceAndLeavingGoesBackToThem() {
    double[][] rows = rows(model, 2);
    try (MaskBatchSize two = model.setMaskBatchSize(2)) {
      model.masks().set(Masks.perExample(model.graph(), rows));
      try (MaskBatchSize three = model.setMaskBatchSize(3)) {
        assertThat(model.masks().toArray()).isEqualTo(flat(rows[0], rows[1], rows[0]));
        model.masks().setAll(0.5);
        try (MaskBatchSize one = model.setMaskBatchSize(1)) {
          assertThat(model.masks().toArray())
              .isEqualTo(Masks.uniform(model.graph(), 0.5).toArray());
          assertThat(model.masks().tensor().dim()).isEqualTo(2);
        }
      }
      assertThat(model.masks().toArray()).isEqualTo(flat(rows));
      try (MaskBatchSize one = model.setMaskBatchSize(1)) {
        assertThat(model.masks().toArray()).isEqualTo(rows[0]);
      }
    }
    assertThat(model.masks().toArray()).containsOnly(0);
  }

  @Test
  void explicitMasksForEachExampleAreTheSame() {
    Masks masks = Masks.perExample(model.graph(), rows(model, BATCH));
    AnswerLoss loss =
        AnswerLoss.of(
            GradFunction.LOGPROB,
            AnswerFunction.AVG_DIFF,
            new long[][] {{1}, {2}, {3}},
            new long[][] {{4}, {5}, {6}});
    try (MaskBatchSize size = model.setMaskBatchSize(BATCH)) {
      model.masks().set(masks);
      PatchContext parameters = PatchContext.of(patch, model.masks());
      PatchContext constants = PatchContext.of(patch, masks);
      assertClose("logits", model.forward(tokens, parameters), model.forward(tokens, constants), 0);
      assertClose(
          "gradient",
          model.maskGradient(tokens, parameters, loss).gradient(),
          model.maskGradient(tokens, constants, loss).gradient(),
          0);
      Masks copy = Masks.copyOf(model.masks());
      assertThat(copy.examples()).hasValue(BATCH);
      assertThat(copy.toArray()).isEqualTo(masks.toArray());
    }
    assertThat(Masks.copyOf(model.masks()).examples()).isEmpty();
  }

  @Test
  void oneSetOfValuesIsWrittenToEveryExample() {
    try (MaskBatchSize size = model.setMaskBatchSize(2)) {
      model.masks().set(1, 0.25);
      model.masks().set("A0.1->MLP 1", 0.75);
      int edge = model.graph().indices("A0.1->MLP 1")[0];
      for (int example = 0; example < 2; example++) {
        double[] row = example(example);
        assertThat(row[1]).isEqualTo(0.25);
        assertThat(row[edge]).isEqualTo(0.75);
      }
      double[] shared = random(model, 3);
      model.masks().set(shared);
      assertThat(example(1)).isEqualTo(shared);
      EdgeSet circuit = TestModels.circuit(model.graph(), 0.3, 1);
      model.masks().setEdges(circuit);
      assertThat(example(1)).isEqualTo(Masks.ofEdges(circuit).toArray());
      model.masks().tensor().select(0, 1).zero_();
      assertThat(example(0)).isEqualTo(Masks.ofEdges(circuit).toArray());
      assertThat(example(1)).containsOnly(0);
      assertThat(model.masks().module("blocks.1.hook_k_input").shape()).containsExactly(2, 4, 6);
    }
  }

  private double[] example(int example) {
    int size = model.graph().maskSize();
    return Arrays.copyOfRange(model.masks().toArray(), example * size, (example + 1) * size);
  }

  @Test
  void gradientsOutsideStayWhatTheyWere() {
    try (TrainMaskMode training = model.trainMaskMode();
        PatchMode mode = model.patchMode(patch)) {
      model.forward(tokens).sum().backward();
      double[] before = model.masks().gradientArray();
      try (MaskBatchSize size = model.setMaskBatchSize(BATCH)) {
        assertThat(model.masks().hasGradients()).isFalse();
        assertThat(model.masks().requiresGrad()).isTrue();
        model.forward(tokens).sum().backward();
        double[] each = model.masks().gradientArray();
        double[] sum = new double[before.length];
        for (int i = 0; i < each.length; i++) {
          sum[i % sum.length] += each[i];
        }
        assertClose("sum over examples", sum, before, 1e-12);
      }
      assertThat(model.masks().gradientArray()).isEqualTo(before);
    }
  }

  /** Values and graph outlive the mode; gradients have nowhere to go, and nothing breaks. */
  @Test
  void goingBackwardTooLateIsHarmless() {
    Tensor loss;
    try (MaskBatchSize size = model.setMaskBatchSize(BATCH);
        TrainMaskMode training = model.trainMaskMode();
        PatchMode mode = model.patchMode(patch)) {
      loss = model.forward(tokens).sum();
    }
    loss.backward();
    assertThat(model.masks().hasGradients()).isFalse();
  }

  @Test
  void masksOfOnesOwnAndSharedOnesDoNotMeet() {
    try (MaskParameters own = model.newMaskParameters()) {
      own.setAll(0.25);
      try (MaskBatchSize size = model.setMaskBatchSize(own, BATCH)) {
        assertThat(own.examples()).hasValue(BATCH);
        assertThat(model.masks().examples()).isEmpty();
        try (PatchableModel moved = model.to(TestDevice.NAME)) {
          assertThat(moved.masks().examples()).isEmpty();
        }
      }
    }
    try (MaskBatchSize size = model.setMaskBatchSize(2);
        MaskParameters fresh = model.newMaskParameters();
        PatchableModel moved = model.to(TestDevice.NAME)) {
      assertThat(fresh.examples()).isEmpty();
      assertThat(moved.masks().examples()).isEmpty();
    }
  }

  @Test
  void masksThatAreClosedBeforeTheModeLeaveNothingBehind() {
    MaskParameters own = model.newMaskParameters();
    try (MaskBatchSize size = model.setMaskBatchSize(own, BATCH);
        TrainMaskMode training = model.trainMaskMode(own);
        TrainMaskMode inner = model.trainMaskMode(own)) {
      own.close();
    }
    assertThat(model.openScopes()).isEmpty();
  }

  /** Modes of two models about the same masks may end in any order. */
  @Test
  void anotherModelsTrainingMayOutliveTheMode() {
    try (PatchableModel other = model(PatchableModelOptions.defaults());
        MaskParameters own = model.newMaskParameters()) {
      MaskBatchSize size = model.setMaskBatchSize(own, BATCH);
      TrainMaskMode outer = other.trainMaskMode(own);
      model.forward(tokens, PatchContext.of(patch, own)).sum().backward();
      TrainMaskMode inner = other.trainMaskMode(own);
      size.close();
      inner.close();
      assertThat(own.requiresGrad()).isTrue();
      assertThat(own.hasGradients()).isFalse();
      outer.close();
      assertThat(own.requiresGrad()).isFalse();
    }
  }

  @Test
  void whatDoesNotFitIsNamed() {
    for (int size : new int[] {0, -1}) {
      refused(() -> model.setMaskBatchSize(size), "batchSize", "" + size);
    }
    try (MaskBatchSize two = model.setMaskBatchSize(2);
        PatchMode mode = model.patchMode(patch)) {
      refused(() -> model.forward(tokens), "masks", "3", "2");
      refused(() -> model.masks().set(Masks.perExample(model.graph(), rows(model, 3))), "[3, ");
      refused(() -> model.masks().set(new double[2 * model.graph().maskSize()]), "masks");
      assertThatThrownBy(() -> model.setMaskBatchSize(0))
          .isInstanceOf(IllegalArgumentException.class);
      assertThat(model.openScopes()).hasSize(2);
    }
    refused(() -> model.masks().set(Masks.perExample(model.graph(), rows(model, 3))), "[n_masks]");
    MaskParameters closed = model.newMaskParameters();
    closed.close();
    assertThatThrownBy(() -> model.setMaskBatchSize(closed, 2))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("closed");
    assertThat(model.openScopes()).isEmpty();
  }

  @Test
  void closedOutOfOrderItStillComesBack() {
    model.masks().setAll(0.5);
    MaskBatchSize size = model.setMaskBatchSize(2);
    PatchMode mode = model.patchMode(patch);
    assertThatThrownBy(size::close)
        .isInstanceOf(ScopeOrderException.class)
        .hasMessageContaining("setMaskBatchSize")
        .hasMessageContaining("patchMode");
    assertThat(List.of(size.isOpen(), mode.isOpen())).containsOnly(false);
    assertThat(model.masks().toArray()).containsOnly(0.5);
    assertThat(model.masks().examples()).isEmpty();
  }

  private static void refused(Runnable call, String... words) {
    assertThatThrownBy(call::run)
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContainingAll(words);
  }
}
