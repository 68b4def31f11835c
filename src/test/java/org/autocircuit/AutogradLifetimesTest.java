package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.Close.assertClose;
import static org.autocircuit.RandomModels.SMALL;

import java.util.Arrays;
import java.util.Random;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.mode.TrainMaskMode;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/** Gradients of passes whose surroundings have changed or gone by the time of the backward. */
@ExtendWith(NativeScope.class)
class AutogradLifetimesTest {

  private final PatchableModel model =
      RandomModels.patchable(SMALL, Precision.FLOAT64, PatchableModelOptions.defaults(), 5);

  private final double[] values = RandomModels.masks(model.graph(), 3);

  @AfterEach
  void close() {
    model.close();
  }

  private static Tensor tokens(int seed) {
    return RandomModels.tokens(SMALL, 2, 4, seed);
  }

  private SourceActivations corrupt() {
    return model.sourceAblations(tokens(2), BatchAblation.RESAMPLE);
  }

  private static Tensor loss(Tensor logits) {
    return logits.mul(logits).sum();
  }

  /** The gradient of one pass, with nothing else around it. */
  private double[] gradientAlone(int seed) {
    try (SourceActivations activations = corrupt();
        MaskParameters masks = model.newMaskParameters()) {
      masks.set(values);
      try (TrainMaskMode training = model.trainMaskMode(masks)) {
        loss(model.forward(tokens(seed), PatchContext.of(activations, masks))).backward();
      }
      return masks.gradientArray();
    }
  }

  @Test
  void twoForwardsThenTheBackwardOfTheFirst() {
    double[] first = gradientAlone(1);
    double[] second = gradientAlone(7);
    try (SourceActivations activations = corrupt();
        MaskParameters masks = model.newMaskParameters()) {
      masks.set(values);
      try (TrainMaskMode training = model.trainMaskMode(masks)) {
        PatchContext context = PatchContext.of(activations, masks);
        Tensor one = loss(model.forward(tokens(1), context));
        Tensor two = loss(model.forward(tokens(7), context));
        one.backward();
        assertThat(masks.gradientArray()).isEqualTo(first);
        masks.zeroGrad();
        two.backward();
        assertThat(masks.gradientArray()).isEqualTo(second);
      }
    }
  }

  @Test
  void backwardAfterTheModelAndTheContextWereClosed() {
    double[] expected = gradientAlone(1);
    PatchableModel other =
        RandomModels.patchable(SMALL, Precision.FLOAT64, PatchableModelOptions.defaults(), 5);
    SourceActivations activations = other.sourceAblations(tokens(2), BatchAblation.RESAMPLE);
    MaskParameters masks = other.newMaskParameters();
    masks.set(values);
    Tensor leaf;
    Tensor loss;
    try (TrainMaskMode training = other.trainMaskMode(masks)) {
      leaf = masks.tensor();
      loss = loss(other.forward(tokens(1), PatchContext.of(activations, masks)));
    }
    activations.close();
    masks.close();
    other.close();
    // Memory that was given back too early is likely to be written to now.
    for (int i = 0; i < 20; i++) {
      gradientAlone(i);
    }
    loss.backward();
    assertThat(TensorArrays.doubles(leaf.grad())).isEqualTo(expected);
  }

  @Test
  void backwardAfterTheTrainingModeWasClosed() {
    double[] expected = gradientAlone(1);
    try (SourceActivations activations = corrupt();
        MaskParameters masks = model.newMaskParameters()) {
      masks.set(values);
      Tensor loss;
      try (TrainMaskMode training = model.trainMaskMode(masks)) {
        loss = loss(model.forward(tokens(1), PatchContext.of(activations, masks)));
      }
      loss.backward();
      assertThat(masks.gradientArray()).isEqualTo(expected);
    }
  }

  /** Activations are made without grad, and still can be saved for a backward that needs them. */
  @Test
  void everyAblationFeedsAGradient() {
    for (BatchAblation type : BatchAblation.values()) {
      try (SourceActivations activations = model.sourceAblations(tokens(2), type);
          MaskParameters masks = model.newMaskParameters()) {
        assertThat(activations.tensor().requires_grad()).isFalse();
        assertThat(activations.tensor().is_inference()).isFalse();
        masks.set(values);
        try (TrainMaskMode training = model.trainMaskMode(masks)) {
          loss(model.forward(tokens(1), PatchContext.of(activations, masks))).backward();
        }
        double[] gradient = masks.gradientArray();
        int edge = 7;
        double[] up = values.clone();
        double[] down = values.clone();
        up[edge] += 1e-6;
        down[edge] -= 1e-6;
        double difference =
            (loss(patched(activations, up)).item_double()
                    - loss(patched(activations, down)).item_double())
                / 2e-6;
        assertThat(gradient[edge]).as(type.name()).isCloseTo(difference, within(1e-5));
      }
    }
  }

  private Tensor patched(SourceActivations activations, double[] masks) {
    return model.forward(tokens(1), PatchContext.of(activations, Masks.of(model.graph(), masks)));
  }

  @Test
  void activationsOfOnesOwnGetGradients() {
    Tensor own;
    try (SourceActivations activations = corrupt()) {
      own = activations.tensor().clone().detach().set_requires_grad(true);
    }
    try (SourceActivations activations = SourceActivations.of(own)) {
      loss(patched(activations, values)).backward();
    }
    Tensor step =
        TensorArrays.of(
            RandomModels.normal(own.numel(), 1e-6, new Random(4)),
            Precision.FLOAT64.scalarType(),
            TestDevice.NAME,
            own.shape());
    double expected = own.grad().mul(step).sum().item_double() * 2;
    Tensor fixed = own.detach();
    try (SourceActivations up = SourceActivations.of(fixed.add(step));
        SourceActivations down = SourceActivations.of(fixed.sub(step))) {
      double difference =
          loss(patched(up, values)).item_double() - loss(patched(down, values)).item_double();
      assertThat(difference).isCloseTo(expected, within(1e-8));
    }
  }

  @Test
  void weightsTrainThroughAPatchedForward() {
    try (SourceActivations activations = corrupt()) {
      Masks masks = Masks.of(model.graph(), values);
      for (String name : new String[] {"embed.W_E", "blocks.0.attn.W_QKV", "blocks.0.mlp.b_in"}) {
        Tensor weight = model.weights().get(name);
        weight.set_requires_grad(true);
        ForwardRequest request =
            ForwardRequest.of(tokens(1))
                .withContext(PatchContext.of(activations, masks))
                .withGrad(true);
        loss(model.forward(request).logits()).backward();
        weight.set_requires_grad(false);
        Tensor step =
            TensorArrays.of(
                RandomModels.normal(weight.numel(), 1e-6, new Random(4)),
                Precision.FLOAT64.scalarType(),
                TestDevice.NAME,
                weight.shape());
        double expected = weight.grad().mul(step).sum().item_double() * 2;
        weight.add_(step);
        double up = loss(patched(activations, values)).item_double();
        weight.sub_(step.mul(new Scalar(2.0)));
        double down = loss(patched(activations, values)).item_double();
        weight.add_(step);
        assertThat(expected).as(name).isNotZero();
        assertThat(up - down)
            .as(name)
            .isCloseTo(expected, within(1e-7 * Math.abs(expected) + 1e-9));
      }
    }
  }

  @Test
  void gradientsOfSeveralPassesAddUp() {
    double[] one = gradientAlone(1);
    double[] two = gradientAlone(7);
    double[] sum = new double[one.length];
    Arrays.setAll(sum, i -> one[i] + two[i]);
    try (SourceActivations activations = corrupt();
        MaskParameters masks = model.newMaskParameters()) {
      masks.set(values);
      try (PatchMode patching = model.patchMode(activations, masks);
          TrainMaskMode training = model.trainMaskMode(masks)) {
        loss(model.forward(tokens(1))).backward();
        loss(model.forward(tokens(7))).backward();
      }
      assertClose("sum", masks.gradientArray(), sum, 1e-12);
    }
  }

  @Test
  void nothingIsRecordedUnlessSomethingRequiresGradients() {
    try (SourceActivations activations = corrupt()) {
      assertThat(model.forward(tokens(1)).requires_grad()).isFalse();
      assertThat(patched(activations, values).requires_grad()).isFalse();
      try (MaskParameters masks = model.newMaskParameters();
          TrainMaskMode training = model.trainMaskMode(masks)) {
        PatchContext context = PatchContext.of(activations, masks);
        assertThat(model.forward(tokens(1), context).requires_grad()).isTrue();
        assertThat(
                model
                    .forward(ForwardRequest.of(tokens(1)).withContext(context).withGrad(false))
                    .logits()
                    .requires_grad())
            .isFalse();
      }
    }
  }

  /** A pass keeps a copy of masks if anything is patched; else it keeps and watches theirs. */
  @Test
  void changingMasksAfterTheForwardChangesNoGradientOrIsRefused() {
    double[] expected = gradientAlone(1);
    try (SourceActivations activations = corrupt();
        MaskParameters masks = model.newMaskParameters();
        TrainMaskMode training = model.trainMaskMode(masks)) {
      masks.set(values);
      Tensor loss = loss(model.forward(tokens(1), PatchContext.of(activations, masks)));
      masks.setAll(0);
      loss.backward();
      assertThat(masks.gradientArray()).isEqualTo(expected);
      Tensor unpatched = loss(model.forward(tokens(1), PatchContext.of(activations, masks)));
      masks.setAll(1);
      assertThatThrownBy(unpatched::backward)
          .hasMessageContaining("modified by an inplace operation");
    }
  }

  @Test
  void whatAPassReturnsIsTheCallersToChange() {
    try (SourceActivations activations = corrupt()) {
      PatchContext context = PatchContext.of(activations, Masks.of(model.graph(), values));
      ForwardRequest request =
          ForwardRequest.of(tokens(1))
              .withContext(context)
              .withSourceOutputs()
              .withReads(
                  "blocks.0.hook_resid_pre", "blocks.1.hook_q_input", "blocks.1.hook_mlp_in");
      double[] expected = TensorArrays.doubles(model.forward(request).logits());
      ForwardResult result = model.forward(request);
      result.logits().zero_();
      result.sourceOutputs().orElseThrow().zero_();
      result.reads().values().forEach(Tensor::zero_);
      assertThat(TensorArrays.doubles(model.forward(request).logits())).isEqualTo(expected);
    }
  }
}
