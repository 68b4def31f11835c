package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.golden.GoldenComparison.assertActivations;
import static org.autocircuit.golden.GoldenComparison.assertGradients;
import static org.autocircuit.golden.GoldenComparison.assertScalar;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.MaskGradientResult;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.DestModule;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.mode.MaskBatchSize;
import org.autocircuit.mode.MaskFnMode;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.mode.TrainMaskMode;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.CleanCorrupt;
import org.autocircuit.prune.EdgeAttributionPatching;
import org.autocircuit.prune.MaskGradient;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** The reference's operations that take gradients with respect to masks. */
final class GoldenGradientOps {

  private static final String ANSWER_LOSS = "-mean(answer logit avg";
  private static final String WEIGHTED_LOSS = "-sum(logits[out_slice] * data/loss_weights)";

  private GoldenGradientOps() {}

  /** Twice: with autograd through the scopes and a loss made here, and in one native call. */
  static void maskGrad(GoldenModel g, GoldenOp op) {
    MaskFn maskFn = GoldenForwardOps.maskFn(op);
    double[] values =
        op.param("masks").asText().equals("zeros")
            ? new double[g.graph().maskSize()]
            : g.flat(op.inputByModule("masks"));
    Noise noise =
        maskFn == MaskFn.HARD_CONCRETE
            ? Noise.uniforms(g.perExample(op.outputByModule("u")))
            : Noise.DEFAULT;
    String input = op.param("input").asText();
    try (SourceActivations activations = g.activations(op);
        MaskParameters parameters = g.model().newMaskParameters()) {
      parameters.set(values);
      try (PatchMode patching = g.model().patchMode(activations, parameters);
          MaskFnMode function = g.model().maskFnMode(maskFn, 0, noise);
          TrainMaskMode training = g.model().trainMaskMode(parameters)) {
        Tensor logits =
            g.model()
                .forward(ForwardRequest.of(g.input(input)).withOutputSlice(OutputSlice.ALL))
                .logits();
        assertActivations(op, "logits", logits, op.output("logits"));
        Tensor loss = loss(g, op, logits);
        loss.backward();
        assertScalar(op, "loss", loss.item_double(), op.scalar("loss").asDouble());
      }
      assertGradients(op, g.graph(), parameters.gradientArray(), op.outputByModule("grads"));

      if (lastPositionAnswers(g, op)) {
        PatchContext context =
            PatchContext.builder(activations, parameters).maskFn(maskFn).noise(noise).build();
        assertMaskGradient(op, g, context, g.input(input));
      }
    }
  }

  /** Masks for each example; the reference fails at sigmoid, where this library does not. */
  static void batchedMasks(GoldenModel g, GoldenOp op) {
    MaskFn maskFn = GoldenForwardOps.maskFn(op);
    Tensor input = g.input(op.param("input").asText());
    try (SourceActivations activations = g.activations(op)) {
      if (op.raises() != null) {
        assertEachExampleByItself(g, op, activations, input, maskFn);
        return;
      }
      Noise noise =
          maskFn == MaskFn.HARD_CONCRETE
              ? Noise.uniforms(g.perExample(op.outputByModule("u")))
              : Noise.DEFAULT;
      Masks masks =
          Masks.perExample(g.graph(), g.flat(op.inputByModule("masks"), g.golden().batch()));
      assertBatchSizeMode(g, op, activations, masks, maskFn, noise);
      PatchContext context =
          PatchContext.builder(activations, masks).maskFn(maskFn).noise(noise).build();
      ForwardRequest request =
          ForwardRequest.of(input).withContext(context).withOutputSlice(OutputSlice.ALL);
      assertActivations(op, "logits", g.model().forward(request).logits(), op.output("logits"));
      if (lastPositionAnswers(g, op)) {
        assertMaskGradient(op, g, context, input);
      }
    }
  }

  /** With the default masks in the counterpart of {@code set_mask_batch_size}. */
  private static void assertBatchSizeMode(
      GoldenModel g,
      GoldenOp op,
      SourceActivations activations,
      Masks masks,
      MaskFn maskFn,
      Noise noise) {
    Tensor input = g.input(op.param("input").asText());
    try (MaskBatchSize size = g.model().setMaskBatchSize(g.golden().batch());
        PatchMode patching = g.model().patchMode(activations);
        MaskFnMode function = g.model().maskFnMode(maskFn, 0, noise);
        TrainMaskMode training = g.model().trainMaskMode()) {
      g.model().masks().set(masks);
      Tensor logits =
          g.model().forward(ForwardRequest.of(input).withOutputSlice(OutputSlice.ALL)).logits();
      assertActivations(op, "logits", logits, op.output("logits"));
      if (op.hasOutput("grads")) {
        Tensor loss = loss(g, op, logits);
        assertScalar(op, "loss", loss.item_double(), op.scalar("loss").asDouble());
        loss.backward();
        assertGradients(
            op, g.graph(), g.model().masks().gradientArray(), op.outputByModule("grads"));
      }
    }
  }

  private static void assertEachExampleByItself(
      GoldenModel g, GoldenOp op, SourceActivations activations, Tensor input, MaskFn maskFn) {
    GoldenOp given =
        g.golden().ops("batched_masks").stream()
            .filter(other -> other.hasInput("masks"))
            .findFirst()
            .orElseThrow();
    double[][] masks = g.flat(given.inputByModule("masks"), g.golden().batch());
    PatchContext context =
        PatchContext.builder(activations, Masks.perExample(g.graph(), masks))
            .maskFn(maskFn)
            .build();
    double[][] together = new double[masks.length][];
    Tensor logits = g.model().forward(input, context);
    for (int i = 0; i < masks.length; i++) {
      together[i] = TensorArrays.doubles(logits.select(0, i));
      try (SourceActivations alone =
          SourceActivations.of(activations.tensor().narrow(1, i, 1).contiguous())) {
        PatchContext one =
            PatchContext.builder(alone, Masks.of(g.graph(), masks[i])).maskFn(maskFn).build();
        double[] expected = TensorArrays.doubles(g.forward(input, i, one));
        for (int j = 0; j < expected.length; j++) {
          assertScalar(op, "example " + i + " logit " + j, together[i][j], expected[j]);
        }
      }
    }
  }

  /** Twice: batch by batch through the model, and, of tokens, as prune scores. */
  static void maskGradient(GoldenModel g, GoldenOp op) {
    GradFunction gradFunction = gradFunction(op);
    AnswerFunction answerFunction = answerFunction(op);
    Ablation type = Ablation.named(op.param("ablation_type").asText("RESAMPLE"));
    String patchInput = patchInput(op, type);
    double[] sum = new double[g.graph().maskSize()];
    for (int batch = 0; batch < g.batches(); batch++) {
      AnswerLoss loss =
          answerFunction == AnswerFunction.MSE
              ? AnswerLoss.mse(gradFunction, g.rows("data/mse_targets", batch))
              : AnswerLoss.of(
                  gradFunction,
                  answerFunction,
                  g.tokens("data/answers", batch),
                  g.tokens("data/wrong_answers", batch));
      String sample =
          type instanceof DatasetAblation ? "dataloader" : patchInput + " batch " + batch;
      try (SourceActivations activations = GoldenForwardOps.ablations(g, sample, type)) {
        for (double value : maskValues(op)) {
          PatchContext context = PatchContext.of(activations, Masks.uniform(g.graph(), value));
          try (PointerScope scope = new PointerScope()) {
            double[] gradient =
                TensorArrays.doubles(
                    g.model().maskGradient(g.input("clean", batch), context, loss).gradient());
            Arrays.setAll(sum, i -> sum[i] + gradient[i]);
          }
        }
      }
    }
    assertGradients(op, g.graph(), sum, op.outputByModule("prune_scores"));
    if (g.takesTokens()) {
      assertGradients(op, g.graph(), pruneScores(g, op), op.outputByModule("prune_scores"));
    }
  }

  /**
   * The reference adds up batches, and where there are masks for positions it gives each of them
   * the sum over all. For graphs that it has no hooks for, the gradient at masks of 0 says the
   * same.
   */
  static void edgeAttributionPatching(GoldenModel g, GoldenOp op) {
    AnswerFunction function =
        op.param("answer_diff").asBoolean() ? AnswerFunction.AVG_DIFF : AnswerFunction.AVG_VAL;
    double[] scores =
        EdgeAttributionPatching.builder()
            .answerFunction(function)
            .build()
            .pruneScores(g.model(), g.promptPairs())
            .toArray();
    if (op.raises() != null) {
      MaskGradient masks = MaskGradient.builder().answerFunction(function).build();
      double[] expected = masks.pruneScores(g.model(), g.promptPairs()).toArray();
      double largest = Arrays.stream(expected).map(Math::abs).max().orElseThrow();
      assertThat(scores).as(op.toString()).containsExactly(expected, within(1e-3 * largest));
      return;
    }
    double[] sums = new double[scores.length];
    for (DestModule module : g.graph().destModules()) {
      for (int i = module.offset(); i < module.end(); i++) {
        int edge = (i - module.offset()) % module.positionSize();
        for (int at = module.offset() + edge; at < module.end(); at += module.positionSize()) {
          sums[i] += g.batches() * scores[at];
        }
      }
    }
    assertGradients(op, g.graph(), sums, op.outputByModule("prune_scores"));
  }

  /** The scores of an operation by the library's own algorithm. */
  static double[] pruneScores(GoldenModel g, GoldenOp op) {
    Ablation type = Ablation.named(op.param("ablation_type").asText("RESAMPLE"));
    List<PromptPairBatch> batches = g.promptPairs();
    MaskGradient.Builder builder =
        MaskGradient.builder()
            .sumOfBatchMeans()
            .gradFunction(gradFunction(op))
            .answerFunction(answerFunction(op))
            .ablation(type);
    if (needsPrompts(type)) {
      builder.patchInput(CleanCorrupt.valueOf(patchInput(op, type).toUpperCase(Locale.ROOT)));
    }
    JsonNode samples = op.param("integrated_grad_samples");
    if (samples.isInt()) {
      builder.integratedGradSamples(samples.asInt());
    } else {
      builder.maskValue(op.param("mask_val").asDouble());
    }
    if (answerFunction(op) == AnswerFunction.MSE) {
      builder.targets(batch -> g.rows("data/mse_targets", batches.indexOf(batch)));
    }
    return builder.build().pruneScores(g.model(), batches).toArray();
  }

  private static GradFunction gradFunction(GoldenOp op) {
    return GradFunction.valueOf(op.param("grad_function").asText().toUpperCase(Locale.ROOT));
  }

  private static AnswerFunction answerFunction(GoldenOp op) {
    return AnswerFunction.valueOf(op.param("answer_function").asText().toUpperCase(Locale.ROOT));
  }

  private static boolean needsPrompts(Ablation type) {
    return type instanceof BatchAblation && type != BatchAblation.ZERO;
  }

  /** The prompts whose activations patch: by default the corrupt ones. */
  private static String patchInput(GoldenOp op, Ablation type) {
    String given = op.param("clean_corrupt").asText("null");
    if (needsPrompts(type) && op.param("clean_corrupt").isNull()) {
      throw new IllegalStateException(op + ": " + type + " needs clean or corrupt prompts");
    }
    return given.equals("null") || given.isEmpty() ? "corrupt" : given;
  }

  private static double[] maskValues(GoldenOp op) {
    JsonNode samples = op.param("integrated_grad_samples");
    if (!samples.isInt()) {
      return new double[] {op.param("mask_val").asDouble()};
    }
    double[] values = new double[samples.asInt() + 1];
    Arrays.setAll(values, i -> (double) i / samples.asInt());
    return values;
  }

  private static void assertMaskGradient(
      GoldenOp op, GoldenModel g, PatchContext context, Tensor input) {
    AnswerLoss answers =
        AnswerLoss.of(
            GradFunction.LOGIT,
            AnswerFunction.AVG_DIFF,
            g.tokens("data/answers", 0),
            g.tokens("data/wrong_answers", 0));
    MaskGradientResult result = g.model().maskGradient(input, context, answers);
    assertScalar(op, "loss", result.loss().item_double(), op.scalar("loss").asDouble());
    assertGradients(
        op, g.graph(), TensorArrays.doubles(result.gradient()), op.outputByModule("grads"));
  }

  private static boolean lastPositionAnswers(GoldenModel g, GoldenOp op) {
    return op.param("loss").asText().startsWith(ANSWER_LOSS) && g.slice() == OutputSlice.LAST_SEQ;
  }

  /** The loss of an operation from full logits, in plain operations. */
  static Tensor loss(GoldenModel g, GoldenOp op, Tensor full) {
    Tensor logits = g.sliced(full);
    String formula = op.param("loss").asText();
    if (formula.equals(WEIGHTED_LOSS)) {
      return logits.mul(g.tensor(g.golden().tensor("data/loss_weights"))).sum().neg();
    }
    if (!formula.startsWith(ANSWER_LOSS)) {
      throw new IllegalArgumentException(op + ": unknown loss " + formula);
    }
    Tensor right = logits.gather(1, g.rows("data/answers", 0)).mean(1);
    Tensor wrong = logits.gather(1, g.rows("data/wrong_answers", 0)).mean(1);
    return right.sub(wrong).mean().neg();
  }
}
