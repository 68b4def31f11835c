package org.autocircuit;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import org.autocircuit.ApiSequenceState.Activations;
import org.autocircuit.ApiSequenceState.OwnModel;
import org.autocircuit.ApiSequenceState.Run;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PlanPolicy;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.MaskTraining;
import org.autocircuit.prune.SubnetworkProbing;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** A model that nobody closes, and what it says an {@link ApiSequence}'s passes should give. */
final class ApiSequenceReference implements AutoCloseable {

  static final int BATCH = 2;
  static final int PROMPTS = 3;
  static final int PREFIXES = 2;

  private static final AnswerLoss LOSS =
      AnswerLoss.of(
          GradFunction.LOGIT,
          AnswerFunction.AVG_DIFF,
          new long[][] {{3}, {1}},
          new long[][] {{2}, {8}});

  private final Model model = TestModels.transformer(Precision.FLOAT32, true, 1);
  private final PatchableModel plain = open();
  private final List<PrefixCache> prefixes = new ArrayList<>();

  /** By the numbers of the tokens before all prompts. */
  private final Map<List<Integer>, PatchableModel> models = new HashMap<>();

  /** Of these models, of each of the prompts; they remember no run, so no pass relies on one. */
  private final Map<List<Integer>, List<SourceActivations>> activations = new HashMap<>();

  ApiSequenceReference() {
    models.put(List.of(), plain);
    for (int first = 0; first < PREFIXES; first++) {
      addPrefix(plain, List.of(first));
      for (int second = 0; second < PREFIXES; second++) {
        addPrefix(plain, List.of(first, second));
      }
    }
    models.forEach((prefix, each) -> activations.put(prefix, raw(each)));
  }

  private void addPrefix(PatchableModel of, List<Integer> tokens) {
    long[][] all = new long[1][];
    all[0] =
        tokens.stream().flatMapToLong(number -> Arrays.stream(prefixTokens(number)[0])).toArray();
    PrefixCache cache = of.prefixOf(all);
    prefixes.add(cache);
    models.put(tokens, of.withPrefix(cache));
  }

  private List<SourceActivations> raw(PatchableModel of) {
    List<SourceActivations> each = new ArrayList<>();
    for (int i = 0; i < PROMPTS; i++) {
      try (SourceActivations made = sources(of, i);
          PointerScope scope = new PointerScope()) {
        each.add(SourceActivations.of(made.tensor().clone()));
      }
    }
    return each;
  }

  /** Another patchable model of the same weights. */
  PatchableModel open() {
    return PatchableModel.of(model, PatchableModelOptions.defaults());
  }

  SourceActivations sources(PatchableModel of, int prompts) {
    return of.sourceAblations(prompts(prompts), BatchAblation.RESAMPLE);
  }

  long[][] prompts(int prompts) {
    return TestModels.tokens(BATCH, 5, prompts);
  }

  Tensor tokens(int prompts) {
    return TestModels.tokenTensor(BATCH, 5, prompts);
  }

  /** Two tokens that may stand before all prompts. */
  long[][] prefixTokens(int number) {
    return TestModels.tokens(1, 2, 100 + number);
  }

  double[] zeros() {
    return new double[plain.graph().maskSize()];
  }

  /** Any values, or the few edges of a circuit, patched or left as they are. */
  double[] randomMasks(Random random) {
    int size = plain.graph().maskSize();
    int kind = random.nextInt(4);
    return kind < 2
        ? random.doubles(size).map(v -> (float) v).toArray()
        : random.doubles(size).map(v -> (v < 0.05) == (kind == 2) ? 1 : 0).toArray();
  }

  /** Plain operations on activations without a past; last digits of other paths may differ. */
  void assertLogits(double[] actual, List<Integer> prefix, int prompts, ApiSequencePatch patch) {
    Close.assertClose("logits", actual, logits(prefix, prompts, context(patch)), 1e-4);
  }

  /** As {@link #assertLogits}, of a run with masks that are shared by all examples. */
  void assertRun(double[] actual, Run run, double[] masks) {
    PatchContext context = PatchContext.of(own(run.activations), Masks.of(plain.graph(), masks));
    Close.assertClose(
        "logits", actual, logits(run.model.prefixTokens(), run.prompts, context), 1e-4);
  }

  private double[] logits(List<Integer> prefix, int prompts, PatchContext context) {
    try (PointerScope scope = new PointerScope()) {
      ForwardRequest request =
          ForwardRequest.of(tokens(prompts))
              .withContext(context)
              .withGrad(false)
              .withOutputSlice(OutputSlice.LAST_SEQ)
              .withPlanPolicy(PlanPolicy.REFERENCE);
      return TensorArrays.doubles(models.get(prefix).forward(request).logits());
    }
  }

  void assertGradient(OwnModel of, int prompts, ApiSequencePatch patch) {
    double[] actual = gradient(of.model, prompts(prompts), patch.context());
    double[] expected = gradient(models.get(of.prefixTokens()), prompts(prompts), context(patch));
    Close.assertClose("gradient", actual, expected, 1e-4);
  }

  /** Both begin with what a plain pass has behind the first block. */
  void assertFromBlock(OwnModel of, int prompts, ApiSequencePatch patch) {
    PatchableModel same = models.get(of.prefixTokens());
    String hook = "blocks.1.hook_resid_pre";
    try (PointerScope scope = new PointerScope()) {
      ForwardRequest plain = ForwardRequest.of(tokens(prompts)).withReads(hook);
      ForwardRequest request =
          ForwardRequest.startingAt(1, same.forward(plain).read(hook))
              .withStartSourceOutputs(activations.get(of.prefixTokens()).get(prompts).tensor())
              .withGrad(false);
      Tensor actual = of.model.forward(request.withContext(patch.context())).logits();
      ForwardRequest expected =
          request.withContext(context(patch)).withPlanPolicy(PlanPolicy.REFERENCE);
      Close.assertClose("logits", actual, same.forward(expected).logits(), 1e-4);
    }
  }

  void assertProbing(OwnModel of, int prompts, Activations patch) {
    double[] actual = probed(of.model, prompts, patch.activations);
    double[] expected = probed(models.get(of.prefixTokens()), prompts, own(patch));
    Close.assertClose("scores", actual, expected, 1e-3);
  }

  private double[] probed(PatchableModel of, int prompts, SourceActivations patch) {
    PromptPairBatch batch = TestModels.batch(prompts(prompts), prompts(0), prompts);
    try (PointerScope scope = new PointerScope();
        MaskTraining probing = SubnetworkProbing.builder().build().begin(of, patch)) {
      for (int step = 0; step < 3; step++) {
        probing.step(batch);
      }
      return probing.scores().toArray();
    }
  }

  static double[] flat(float[][] rows) {
    return Arrays.stream(rows).flatMapToDouble(ApiSequenceReference::doubles).toArray();
  }

  private static DoubleStream doubles(float[] row) {
    return IntStream.range(0, row.length).mapToDouble(i -> row[i]);
  }

  private static double[] gradient(PatchableModel of, long[][] prompts, PatchContext context) {
    try (PointerScope scope = new PointerScope()) {
      return TensorArrays.doubles(of.maskGradient(prompts, context, LOSS).gradient());
    }
  }

  @Override
  public void close() {
    activations.values().forEach(each -> each.forEach(SourceActivations::close));
    models.values().forEach(PatchableModel::close);
    prefixes.forEach(PrefixCache::close);
    model.close();
  }

  /** The same patch with activations that are never closed and masks that are immutable. */
  private PatchContext context(ApiSequencePatch patch) {
    return patch.isPatched()
        ? PatchContext.builder(own(patch.activations()), patch.values(plain.graph()))
            .maskFn(patch.maskFn())
            .noise(patch.noise())
            .build()
        : PatchContext.NONE;
  }

  private SourceActivations own(Activations of) {
    return activations.get(of.prefixTokens).get(of.prompts);
  }
}
