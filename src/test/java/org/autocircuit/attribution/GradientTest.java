package org.autocircuit.attribution;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Map;
import java.util.Random;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.mode.TrainMaskMode;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;

class GradientTest {

  private static final double STEP = 1e-6;

  @Test
  void gradientsOfMasksAreDifferences() {
    for (MaskFn maskFn : MaskFn.values()) {
      for (boolean factorized : new boolean[] {true, false}) {
        checkGradients(maskFn, factorized);
      }
    }
  }

  private static void checkGradients(MaskFn maskFn, boolean factorized) {
    PatchableModelOptions options = PatchableModelOptions.defaults().withFactorized(factorized);
    try (PointerScope scope = new PointerScope();
        PatchableModel model = TestModels.patchable(Precision.FLOAT64, options);
        SourceActivations patch =
            model.sourceAblations(TestModels.tokens(2, 4, 2), BatchAblation.RESAMPLE)) {
      Random random = new Random(5);
      double[] values = random.doubles(model.graph().maskSize(), 0.1, 0.9).toArray();
      Tensor tokens = TestModels.tokenTensor(2, 4, 1);
      MaskParameters masks = model.masks();
      masks.set(values);
      PatchContext context =
          PatchContext.builder(patch, masks)
              .maskFn(maskFn)
              .noise(maskFn == MaskFn.HARD_CONCRETE ? Noise.seeded(1, 2) : Noise.DEFAULT)
              .build();
      try (TrainMaskMode train = model.trainMaskMode()) {
        loss(model, tokens, context).backward();
      }
      double[] gradients = masks.gradientArray();
      for (int probe = 0; probe < 12; probe++) {
        int index = random.nextInt(values.length);
        masks.set(index, values[index] + STEP);
        double above = loss(model, tokens, context).item_double();
        masks.set(index, values[index] - STEP);
        double below = loss(model, tokens, context).item_double();
        masks.set(index, values[index]);
        assertThat(gradients[index]).isCloseTo((above - below) / (2 * STEP), within(1e-5));
      }
    }
  }

  @Test
  void ablationsCanFeedAGradient() {
    try (PointerScope scope = new PointerScope();
        PatchableModel model =
            TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults());
        SourceActivations source =
            model.sourceAblations(TestModels.tokens(1, 4, 2), BatchAblation.RESAMPLE)) {
      Tensor leaf = source.tensor().contiguous().set_requires_grad(true);
      Tensor tokens = TestModels.tokenTensor(1, 4, 1);
      try (SourceActivations patch = SourceActivations.of(leaf)) {
        PatchContext context = PatchContext.of(patch, Masks.uniform(model.graph(), 0.5));
        loss(model, tokens, context).backward();
        double[] gradient = TensorArrays.doubles(leaf.grad());
        Random random = new Random(3);
        for (int probe = 0; probe < 8; probe++) {
          int index = random.nextInt(gradient.length);
          Tensor element = leaf.detach().view(-1).narrow(0, index, 1);
          element.add_(new Scalar(STEP));
          double above = loss(model, tokens, context).item_double();
          element.sub_(new Scalar(2 * STEP));
          double below = loss(model, tokens, context).item_double();
          element.add_(new Scalar(STEP));
          assertThat(gradient[index]).isCloseTo((above - below) / (2 * STEP), within(1e-5));
        }
      }
    }
  }

  @Test
  void twoForwardsThenTheBackwardOfTheFirst() {
    try (PointerScope scope = new PointerScope();
        PatchableModel model = TestModels.patchable();
        SourceActivations patch =
            model.sourceAblations(TestModels.tokens(2, 4, 2), BatchAblation.RESAMPLE);
        TrainMaskMode train = model.trainMaskMode();
        PatchMode mode = model.patchMode(patch)) {
      Tensor tokens = TestModels.tokenTensor(2, 4, 1);
      model.forward(tokens).sum().backward();
      double[] expected = train.parameters().gradientArray();
      train.parameters().zeroGrad();
      Tensor first = model.forward(tokens).sum();
      Tensor second = model.forward(TestModels.tokenTensor(2, 4, 7)).sum();
      first.backward();
      assertThat(train.parameters().gradientArray()).isEqualTo(expected);
      second.backward();
      assertThat(train.parameters().gradientArray()).isNotEqualTo(expected);
    }
  }

  @Test
  void backwardAfterModelAndContextWereClosed() {
    try (PointerScope scope = new PointerScope()) {
      double[] expected;
      Tensor loss;
      MaskParameters masks;
      try (PatchableModel model = TestModels.patchable()) {
        masks = model.newMaskParameters();
        try (SourceActivations patch =
                model.sourceAblations(TestModels.tokens(2, 4, 2), BatchAblation.RESAMPLE);
            TrainMaskMode train = model.trainMaskMode(masks);
            PatchMode mode = model.patchMode(patch, masks)) {
          Tensor tokens = TestModels.tokenTensor(2, 4, 1);
          model.forward(tokens).sum().backward();
          expected = masks.gradientArray();
          masks.zeroGrad();
          loss = model.forward(tokens).sum();
        }
      }
      loss.backward();
      assertThat(masks.gradientArray()).isEqualTo(expected);
      masks.close();
    }
  }

  @Test
  void gradientsOfDefaultMasksOutliveTheModelInTheirTensor() {
    try (PointerScope scope = new PointerScope()) {
      Tensor leaf;
      Tensor loss;
      try (PatchableModel model = TestModels.patchable();
          SourceActivations patch =
              model.sourceAblations(TestModels.tokens(2, 4, 2), BatchAblation.RESAMPLE);
          TrainMaskMode train = model.trainMaskMode();
          PatchMode mode = model.patchMode(patch)) {
        leaf = train.parameters().tensor();
        loss = model.forward(TestModels.tokenTensor(2, 4, 1)).sum();
      }
      loss.backward();
      assertThat(leaf.grad().defined()).isTrue();
      assertThat(leaf.grad().abs().sum().item_double()).isGreaterThan(0);
    }
  }

  /** A recorded pass hands out the activations that the model itself continues with. */
  @Test
  void gradientsReachActivationsThatWereRead() {
    String stream = "blocks.0.hook_resid_pre";
    String next = "blocks.1.hook_resid_pre";
    try (PointerScope scope = new PointerScope();
        PatchableModel model =
            TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults())) {
      Tensor start =
          model
              .forward(ForwardRequest.of(TestModels.tokens(2, 4, 1)).withReads(stream))
              .read(stream)
              .requires_grad_(true);
      ForwardResult whole = model.forward(ForwardRequest.startingAt(0, start).withReads(next));
      Tensor read = whole.read(next);
      Tensor leaf = read.detach().requires_grad_(true);
      Tensor late = model.forward(ForwardRequest.startingAt(1, leaf)).logits();
      Tensor actual = gradient(whole.logits(), read);
      assertThat(actual.abs().sum().item_double()).isGreaterThan(0.1);
      assertThat(torch.allclose(actual, gradient(late, leaf))).isTrue();
    }
  }

  private static Tensor gradient(Tensor logits, Tensor input) {
    return torch.grad(new TensorVector(logits.square().sum()), new TensorVector(input)).get(0);
  }

  @Test
  void weightsAreTrainedInPlace() {
    try (PointerScope scope = new PointerScope();
        PatchableModel model = TestModels.patchable()) {
      Map<String, Tensor> weights = model.weights();
      Tensor weight = weights.get("blocks.0.mlp.W_in");
      weight.set_requires_grad(true);
      Tensor tokens = TestModels.tokenTensor(2, 4, 1);
      assertThat(model.forward(tokens).requires_grad()).isFalse();
      Tensor before = model.forward(tokens);
      model.forward(ForwardRequest.of(tokens).withGrad(true)).logits().sum().backward();
      weight.detach().sub_(weight.grad(), new Scalar(0.1));
      assertThat(torch.equal(model.forward(tokens), before)).isFalse();
    }
  }

  @Test
  void nothingIsRecordedUnlessSomethingRequiresGradients() {
    try (PointerScope scope = new PointerScope();
        PatchableModel model = TestModels.patchable();
        SourceActivations patch =
            model.sourceAblations(TestModels.tokens(2, 4, 2), BatchAblation.RESAMPLE);
        TrainMaskMode train = model.trainMaskMode()) {
      Tensor tokens = TestModels.tokenTensor(2, 4, 1);
      PatchContext trained = PatchContext.of(patch, model.masks());
      PatchContext fixed = PatchContext.of(patch, Masks.uniform(model.graph(), 0.5));
      assertThat(model.forward(tokens, trained).requires_grad()).isTrue();
      assertThat(model.forward(tokens, fixed).requires_grad()).isFalse();
      ForwardRequest without = ForwardRequest.of(tokens).withContext(trained).withGrad(false);
      assertThat(model.forward(without).logits().requires_grad()).isFalse();
      assertThat(patch.tensor().requires_grad()).isFalse();
    }
  }

  @Test
  void maskGradientIsTheBackwardOfTheLoss() {
    try (PointerScope scope = new PointerScope();
        PatchableModel model =
            TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults());
        SourceActivations patch =
            model.sourceAblations(TestModels.tokens(2, 4, 2), BatchAblation.RESAMPLE)) {
      long[][] answers = {{3}, {4}};
      long[][] wrong = {{5, 6}, {7, -1}};
      model.masks().setAll(0.3);
      PatchContext context = PatchContext.of(patch, model.masks());
      long[][] tokens = TestModels.tokens(2, 4, 1);
      MaskGradientResult result =
          model.maskGradient(
              tokens,
              context,
              AnswerLoss.of(GradFunction.LOGIT, AnswerFunction.AVG_DIFF, answers, wrong));
      assertThat(model.masks().hasGradients()).isFalse();
      double[] loss;
      try (TrainMaskMode train = model.trainMaskMode();
          PatchMode mode = model.patchMode(patch)) {
        Tensor logits = model.forward(TensorArrays.of(tokens, "tokens", TestDevice.NAME));
        Tensor first = at(logits, 0, 3).sub(at(logits, 0, 5).add(at(logits, 0, 6)).mul(half()));
        Tensor second = at(logits, 1, 4).sub(at(logits, 1, 7));
        Tensor expected = first.add(second).mul(half()).neg();
        expected.backward();
        loss = new double[] {expected.item_double()};
      }
      assertThat(result.loss().item_double()).isCloseTo(loss[0], within(1e-12));
      assertThat(result.logits().shape()).containsExactly(2, 31);
      double[] gradient = TensorArrays.doubles(result.gradient());
      double[] expected = model.masks().gradientArray();
      for (int i = 0; i < expected.length; i++) {
        assertThat(gradient[i]).isCloseTo(expected[i], within(1e-12));
      }
    }
  }

  private static Tensor at(Tensor logits, long row, long token) {
    return logits.select(0, row).select(0, token);
  }

  private static Scalar half() {
    return new Scalar(0.5);
  }

  /** A loss that treats no logit like another. */
  private static Tensor loss(PatchableModel model, Tensor tokens, PatchContext context) {
    Tensor logits = model.forward(tokens, context);
    return logits.log_softmax(1).square().sum();
  }
}
