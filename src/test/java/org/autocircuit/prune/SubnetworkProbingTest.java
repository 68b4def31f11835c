package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.Close.assertClose;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class SubnetworkProbingTest {

  private static final double INITIAL = Math.log(5);

  private final PatchableModel model =
      TestModels.patchable(
          Precision.FLOAT64,
          PatchableModelOptions.defaults().withOutputSlice(OutputSlice.LAST_SEQ));
  private final PromptPairBatch batch = TestModels.batch(3, 5, 10);
  private final SourceActivations mean =
      model.sourceAblations(List.of(batch), DatasetAblation.TOKENWISE_MEAN_CORRUPT);

  @AfterEach
  void close() {
    mean.close();
    model.close();
  }

  /** A target takes a row of the vocabulary and one number for each prompt. */
  @Test
  void targetsTakeNoMoreThanTheirShareOfMemory() {
    long one = 3L * (TestModels.CONFIG.dVocab() + 1) * Double.BYTES;
    List<MaskTraining.Losses> expected = losses(Long.MAX_VALUE, 4 * one);
    assertThat(losses(2 * one, 2 * one)).isEqualTo(expected);
    assertThat(losses(2 * one + 1, 2 * one)).isEqualTo(expected);
    assertThat(losses(one - 1, 0)).isEqualTo(expected);
  }

  private List<MaskTraining.Losses> losses(long targetMemory, long kept) {
    List<MaskTraining.Losses> losses = new ArrayList<>();
    try (MaskTraining probing =
        SubnetworkProbing.builder().targetMemory(targetMemory).build().begin(model, mean)) {
      for (int epoch = 0; epoch < 2; epoch++) {
        for (int i = 0; i < 4; i++) {
          losses.add(probing.step(TestModels.batch(3, 5, 20 + i)));
        }
      }
      assertThat(probing.targetBytes()).isEqualTo(kept);
    }
    return losses;
  }

  /** Adam's first step is the learning rate against the sign of the gradient. */
  @Test
  void theFirstStepGoesAgainstTheSignOfTheGradient() {
    double lambda = 3;
    AnswerLoss loss =
        AnswerLoss.of(
            GradFunction.LOGPROB, AnswerFunction.AVG_DIFF, batch.answers(), batch.wrongAnswers());
    try (PointerScope scope = new PointerScope();
        MaskTraining probing =
            SubnetworkProbing.builder()
                .maskFn(MaskFn.SIGMOID)
                .regularizeLambda(lambda)
                .learningRate(0.01)
                .build()
                .begin(model, mean)) {
      int n = model.graph().nEdges();
      PatchContext context =
          PatchContext.builder(mean, Masks.uniform(model.graph(), INITIAL))
              .maskFn(MaskFn.SIGMOID)
              .build();
      var expected = model.maskGradient(batch.clean(), context, loss);
      double[] gradient = TensorArrays.doubles(expected.gradient());
      double sigmoid = 1 / (1 + Math.exp(-INITIAL));

      MaskTraining.Losses losses = probing.step(batch, loss);
      assertThat(losses.faithfulness()).isCloseTo(expected.loss().item_double(), within(1e-12));
      assertThat(losses.edges()).isCloseTo(n * (1 - sigmoid), within(1e-9));
      assertThat(losses.total())
          .isCloseTo(losses.faithfulness() + lambda * (1 - sigmoid), within(1e-12));
      double[] masks = probing.masks().toArray();
      double slope = -lambda / n * sigmoid * (1 - sigmoid);
      int down = 0;
      for (int i = 0; i < n; i++) {
        double direction = Math.signum(gradient[i] + slope);
        down += direction > 0 ? 1 : 0;
        assertThat(masks[i]).as("mask %d", i).isCloseTo(INITIAL - 0.01 * direction, within(1e-5));
      }
      assertThat(down).isBetween(1, n - 1);
      double[] scores = probing.scores().toArray();
      double greatest = Arrays.stream(masks).max().orElseThrow();
      Arrays.setAll(masks, i -> greatest - masks[i]);
      assertThat(scores).containsExactly(masks, within(1e-12));
    }
  }

  @Test
  void theLossIsTheDivergenceOfTheRunWithTheSameNoise() {
    try (PointerScope scope = new PointerScope();
        MaskTraining probing = SubnetworkProbing.builder().build().begin(model, mean)) {
      Device device = new Device(TestDevice.NAME);
      Tensor uniforms = torch.rand(3, model.graph().nEdges()).to(device, ScalarType.Double);
      Tensor count = torch.rand(1, model.graph().nEdges()).to(device, ScalarType.Double);
      Tensor tokens = TensorArrays.of(batch.clean(), "tokens", TestDevice.NAME);
      PatchContext context =
          PatchContext.builder(mean, Masks.uniform(model.graph(), INITIAL))
              .maskFn(MaskFn.HARD_CONCRETE)
              .noise(Noise.uniforms(uniforms))
              .build();
      double expected = model.forward(tokens, context).sum().item_double();
      MaskTraining.Losses losses =
          probing.step(
              ModelInput.of(tokens),
              logits -> logits.sum(),
              Noise.uniforms(uniforms),
              Noise.uniforms(count));
      assertThat(losses.faithfulness()).isCloseTo(expected, within(1e-9));
      double edges = 0;
      for (double u : TensorArrays.doubles(count)) {
        double logit = (Math.log(u) - Math.log(1 - u) + INITIAL) * 1.5;
        edges += 1 - Math.min(1, Math.max(0, 1.2 / (1 + Math.exp(-logit)) - 0.1));
      }
      assertThat(losses.edges()).isCloseTo(edges, within(0.01));
    }
  }

  @Test
  void trainingFindsASmallCircuitThatIsFaithful() {
    try (MaskTraining probing =
        SubnetworkProbing.builder().regularizeLambda(0.5).seed(3).build().begin(model, mean)) {
      double before = faithfulness(Masks.uniform(model.graph(), 1));
      for (int step = 0; step < 60; step++) {
        probing.step(batch);
      }
      assertThat(probing.steps()).isEqualTo(60);
      int size = model.graph().nEdges() / 3;
      double after = faithfulness(Masks.allBut(probing.scores().circuit(size)));
      assertThat(after).isLessThan(before / 2);
    }
  }

  @Test
  void edgePatchingRunsOnCorruptPromptsAndBeginsWithoutPatches() {
    try (SourceActivations clean = model.sourceAblations(batch.clean(), BatchAblation.RESAMPLE);
        MaskTraining probing =
            SubnetworkProbing.builder()
                .patchType(PatchType.EDGE_PATCH)
                .maskFn(MaskFn.NONE)
                .initialValue(0)
                .circuitSize(10)
                .build()
                .begin(model, clean)) {
      MaskTraining.Losses losses = probing.step(batch);
      assertThat(losses.edges()).isZero();
      assertThat(losses.total()).isEqualTo(losses.faithfulness());
      double corrupt = divergence(batch.corrupt(), PatchContext.NONE);
      assertThat(losses.faithfulness()).isCloseTo(corrupt, within(1e-12));
      // The circuit is as large as it may be without cost, and only faithfulness moves the masks.
      double[] scores = probing.scores().toArray();
      assertThat(Arrays.stream(scores).max().orElseThrow()).isPositive();
    }
  }

  @Test
  void theSameSeedTrainsTheSameMasks() {
    assertThat(trained(5)).isEqualTo(trained(5)).isNotEqualTo(trained(6));
  }

  @Test
  void modesAndMasksOfTheModelAreNotTouched() {
    model.masks().setAll(0.25);
    trained(1);
    assertThat(model.masks().toArray()).containsOnly(0.25);
    assertThat(model.masks().hasGradients()).isFalse();
    assertThat(model.openScopes()).isEmpty();
  }

  /** One native call does what a lambda does in many. */
  @Test
  void aStepOnTheDivergenceIsTheOneOfALambda() {
    Random random = new Random(11);
    for (int round = 0; round < 24; round++) {
      MaskFn maskFn = one(random, MaskFn.values());
      FaithfulnessTarget target = one(random, FaithfulnessTarget.values());
      PatchType patchType = one(random, PatchType.values());
      boolean samples = maskFn == MaskFn.HARD_CONCRETE;
      double dropout = random.nextInt(2) * 0.2;
      SubnetworkProbing.Builder settings =
          SubnetworkProbing.builder()
              .maskFn(maskFn)
              .patchType(patchType)
              .dropout(dropout)
              .regularizeLambda(random.nextInt(3))
              .initialValue(random.nextDouble())
              .learningRate(0.05);
      if (random.nextBoolean()) {
        settings.circuitSize(random.nextInt(model.graph().nEdges()));
      }
      if (samples || dropout > 0) {
        settings.seed(round);
      }
      MaskTraining slow = settings.build().begin(model, mean);
      MaskTraining fast = settings.faithfulnessTarget(target).build().begin(model, mean);
      try (slow;
          fast) {
        for (int step = 0; step < 3; step++) {
          PromptPairBatch prompts = TestModels.batch(3, 5, 50 + round + step);
          long[][] run = patchType == PatchType.TREE_PATCH ? prompts.clean() : prompts.corrupt();
          ForwardRequest plain =
              ForwardRequest.of(prompts.clean()).withContext(PatchContext.NONE).withGrad(false);
          Tensor full = target.target(model.forward(plain).logits());
          MaskTraining.Losses expected =
              slow.step(
                  ModelInput.ofPrompts(run, TestDevice.NAME),
                  logits -> plainDivergence(target, logits, full));
          MaskTraining.Losses losses = fast.step(prompts);
          String what = round + " " + maskFn + " " + target + " " + patchType;
          assertThat(losses.total()).as(what).isCloseTo(expected.total(), within(1e-10));
          assertThat(losses.faithfulness())
              .as(what)
              .isCloseTo(expected.faithfulness(), within(1e-10));
          assertThat(losses.edges()).as(what).isCloseTo(expected.edges(), within(1e-10));
          assertClose(what, fast.masks().toArray(), slow.masks().toArray(), 1e-8);
        }
      }
    }
  }

  private static <T> T one(Random random, T[] of) {
    return of[random.nextInt(of.length)];
  }

  /** In plain operations. */
  private static Tensor plainDivergence(FaithfulnessTarget target, Tensor logits, Tensor full) {
    if (target == FaithfulnessTarget.MSE) {
      return logits.sub(full).square().mean();
    }
    Tensor p = full.narrow(-1, 0, logits.size(-1));
    return p.mul(p.log().sub(torch.log_softmax(logits, -1))).sum(-1).mean();
  }

  @Test
  void misuse() {
    SubnetworkProbing.Builder builder = SubnetworkProbing.builder();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.learningRate(0))
        .withMessageContaining("got 0.0");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.regularizeLambda(Double.NaN))
        .withMessageContaining("got NaN");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.circuitSize(-1))
        .withMessageContaining("got -1");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> builder.dropout(1))
        .withMessageContaining("got 1.0");
    MaskTraining probing = builder.build().begin(model, mean);
    try (probing) {
      PromptPairBatch longer = TestModels.batch(3, 6, 1);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> probing.step(longer))
          .withMessageContaining("source activations");
      assertThat(probing.steps()).isZero();
      assertThat(model.openScopes()).isEmpty();
      Throwable elsewhere =
          CompletableFuture.supplyAsync(() -> probing.step(batch))
              .handle((losses, thrown) -> thrown.getCause())
              .join();
      assertThat(elsewhere)
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("thread");
      probing.step(batch);
    }
    probing.close();
    assertThatIllegalStateException()
        .isThrownBy(() -> probing.step(batch))
        .withMessageContaining("MaskTraining is closed");
    assertThatIllegalStateException().isThrownBy(probing::scores);
  }

  private double[] trained(long seed) {
    try (MaskTraining probing = SubnetworkProbing.builder().seed(seed).build().begin(model, mean)) {
      probing.step(batch);
      probing.step(batch);
      return probing.masks().toArray();
    }
  }

  private double faithfulness(Masks masks) {
    return divergence(batch.clean(), PatchContext.of(mean, masks));
  }

  private double divergence(long[][] prompts, PatchContext context) {
    try (PointerScope scope = new PointerScope()) {
      Tensor full = logProbabilities(batch.clean(), PatchContext.NONE);
      Tensor patched = logProbabilities(prompts, context);
      return full.exp().mul(full.sub(patched)).sum(-1).mean().item_double();
    }
  }

  private Tensor logProbabilities(long[][] prompts, PatchContext context) {
    Tensor tokens = TensorArrays.of(prompts, "tokens", TestDevice.NAME);
    return torch.log_softmax(model.forward(tokens, context), -1);
  }
}
