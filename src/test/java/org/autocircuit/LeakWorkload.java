package org.autocircuit;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalInt;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.MaskGradientResult;
import org.autocircuit.checkpoint.Checkpoints;
import org.autocircuit.checkpoint.LoadOptions;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.mode.MaskBatchSize;
import org.autocircuit.mode.MaskFnMode;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.mode.TrainMaskMode;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchWrapper;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.StackedContexts;
import org.autocircuit.prune.Acdc;
import org.autocircuit.prune.EdgeActivationPatching;
import org.autocircuit.prune.MaskTraining;
import org.autocircuit.prune.SubnetworkProbing;
import org.autocircuit.sae.AutoencoderModels;
import org.autocircuit.sae.LatentPruning;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** Runs for LeakTest, which repeats it in a JVM of its own. */
@SuppressWarnings("MustBeClosedChecker") // modes that are refused before they open
enum LeakWorkload {
  LOADS(1500, 1500),
  FORWARDS(1000, 20_000), // of five passes each
  GRADIENTS(1000, 10_000),
  STACKS(1000, 10_000),
  SCOPES(1000, 10_000),
  PREFIXES(500, 2000),
  AUTOENCODERS(200, 1000),
  HALF_PRECISION(500, 2000),
  PROBING(300, 3000), // of three steps each
  SEARCHES(60, 600), // of dozens of passes each
  FAILURES(1000, 1000);

  // Large enough that one forgotten tensor of activations or weights is above what is allowed.
  private static final TransformerConfig CONFIG = RandomModels.config(2, 32, 4, 8, 64, 64, 16);
  private static final int SAMPLES = 10;
  private static final AnswerLoss LOSS =
      AnswerLoss.of(
          GradFunction.LOGPROB,
          AnswerFunction.AVG_DIFF,
          new long[][] {{3}, {1}},
          new long[][] {{2}, {8}});

  private final int rounds;
  private final int soakRounds;

  LeakWorkload(int rounds, int soakRounds) {
    this.rounds = rounds;
    this.soakRounds = soakRounds;
  }

  /** Prints for each workload {@code <name> <slope> kB per 1000 rounds ...}. */
  public static void main(String[] arguments) {
    Path folder = Path.of(arguments[0]);
    boolean soak = Boolean.parseBoolean(arguments[1]);
    Threads.set(1);
    save(folder);
    try (PatchableModel model = PatchableModel.open(folder);
        PatchableModel halfModel = openHalf(folder)) {
      // Allocators, caches and the compiler reach their sizes.
      for (LeakWorkload workload : values()) {
        workload.repeat(workload.rounds, model, halfModel, folder);
      }
      for (LeakWorkload workload : values()) {
        int rounds = (soak ? workload.soakRounds : workload.rounds) / SAMPLES;
        double[] resident = new double[SAMPLES];
        for (int i = 0; i < SAMPLES; i++) {
          workload.repeat(rounds, model, halfModel, folder);
          resident[i] = residentBytes();
        }
        System.out.printf(
            "%s %.1f kB per 1000 rounds over %d rounds, resident %s MB%n",
            workload,
            slope(resident) / rounds,
            SAMPLES * rounds,
            Arrays.stream(resident)
                .mapToObj(bytes -> String.format(Locale.ROOT, "%.2f", bytes / 1e6))
                .toList());
      }
    }
  }

  /** Does everything some times; the folder is for the model. */
  static void repeatAll(int times, Path folder) {
    save(folder);
    try (PatchableModel model = PatchableModel.open(folder);
        PatchableModel halfModel = openHalf(folder)) {
      for (LeakWorkload workload : values()) {
        workload.repeat(times, model, halfModel, folder);
      }
    }
  }

  private static void save(Path folder) {
    try (Model model = RandomModels.model(CONFIG, Precision.FLOAT32, 1)) {
      Checkpoints.save(model, folder);
    }
  }

  private static PatchableModel openHalf(Path folder) {
    LoadOptions half = LoadOptions.DEFAULT.withPrecision(Precision.BFLOAT16);
    return PatchableModel.open(folder, half, PatchableModelOptions.defaults());
  }

  private void repeat(int times, PatchableModel model, PatchableModel half, Path folder) {
    for (int i = 0; i < times; i++) {
      switch (this) {
        case LOADS -> load(folder);
        case FORWARDS -> forward(model, i);
        case GRADIENTS -> gradient(model, i);
        case STACKS -> stack(model, i);
        case SCOPES -> train(model, i);
        case PREFIXES -> prefix(model, i);
        case AUTOENCODERS -> prune(folder, i);
        case HALF_PRECISION -> gradient(half, i);
        case PROBING -> probe(model, i);
        case SEARCHES -> search(model, i);
        case FAILURES -> fail(model, folder);
      }
    }
  }

  private static void load(Path folder) {
    try (PatchableModel model = PatchableModel.open(folder);
        PointerScope scope = new PointerScope()) {
      model.weights();
      model.hookNames();
      try (MaskParameters masks = model.newMaskParameters()) {
        masks.setAll(1);
        masks.modules();
      }
    }
  }

  private static void forward(PatchableModel model, int round) {
    long[][] prompts = RandomModels.prompts(CONFIG, 2, 8, round);
    BatchAblation[] types = {
      BatchAblation.RESAMPLE, BatchAblation.ZERO, BatchAblation.BATCH_TOKENWISE_MEAN
    };
    try (SourceActivations activations =
        model.sourceAblations(prompts, types[round % types.length])) {
      PatchContext context =
          PatchContext.builder(activations, Masks.uniform(model.graph(), 0.3))
              .maskFn(MaskFn.HARD_CONCRETE)
              .noise(Noise.seeded(1, round))
              .build();
      model.logits(prompts, context);
      model.logits(prompts);
      try (PointerScope scope = new PointerScope()) {
        Tensor tokens = RandomModels.tokens(CONFIG, 2, 8, round);
        model.forward(
            ForwardRequest.of(tokens)
                .withContext(context)
                .withSourceOutputs()
                .withReads("blocks.1.hook_q_input", "blocks.1.attn.hook_pattern"));
        activations.tensor();
      }
      // Without a scope around the call, the caller closes what it was given.
      try (Tensor tokens = ownTokens(round);
          Tensor logits = model.forward(tokens, context)) {
        logits.numel();
      }
    }
  }

  /** Tokens that belong to no scope. */
  private static Tensor ownTokens(int round) {
    try (PointerScope scope = new PointerScope()) {
      Tensor tokens = RandomModels.tokens(CONFIG, 2, 8, round);
      tokens.retainReference();
      return tokens;
    }
  }

  private static void gradient(PatchableModel model, int round) {
    long[][] prompts = RandomModels.prompts(CONFIG, 2, 8, round);
    try (SourceActivations activations = model.sourceAblations(prompts, BatchAblation.RESAMPLE);
        PointerScope scope = new PointerScope()) {
      MaskGradientResult result =
          model.maskGradient(
              prompts, PatchContext.of(activations, Masks.uniform(model.graph(), 0)), LOSS);
      result.loss().item_double();
    }
  }

  private static void stack(PatchableModel model, int round) {
    List<long[][]> prompts =
        List.of(
            RandomModels.prompts(CONFIG, 1, 8, round), RandomModels.prompts(CONFIG, 2, 5, round));
    try (SourceActivations first =
            model.sourceAblations(prompts.get(0), BatchAblation.BATCH_TOKENWISE_MEAN);
        SourceActivations second = model.sourceAblations(prompts.get(1), BatchAblation.RESAMPLE)) {
      PatchContext one = PatchContext.of(first, Masks.uniform(model.graph(), 0.3));
      PatchContext two = PatchContext.of(second, Masks.uniform(model.graph(), 1));
      try (StackedContexts stack = PatchContext.stack(List.of(one, two), prompts);
          PointerScope scope = new PointerScope()) {
        ModelInput input = ModelInput.ofPrompts(stack.join(prompts), "cpu");
        stack.split(model.forward(ForwardRequest.of(input).withContext(stack.context())).logits());
      }
      // Fails once activations are copied: the other source outputs have too many positions.
      PatchContext begun = one.toBuilder().startSourceOutputs(first).build();
      PatchContext wrong = two.toBuilder().startSourceOutputs(first).build();
      expectFailure(() -> PatchContext.stack(List.of(begun, wrong), prompts).close());
    }
  }

  private static void probe(PatchableModel model, int round) {
    PromptPairBatch batch = batch(round);
    try (SourceActivations mean =
            model.sourceAblations(List.of(batch), DatasetAblation.TOKENWISE_MEAN_CORRUPT);
        MaskTraining probing = SubnetworkProbing.builder().seed(round).build().begin(model, mean)) {
      probing.step(batch);
      probing.step(batch);
      probing.step(batch, LOSS);
      probing.scores();
    }
  }

  private static void search(PatchableModel model, int round) {
    PromptPairBatch batch = batch(round);
    Acdc.builder()
        .thresholds(0.01)
        .edgeOrder(model.graph().edges().subList(0, 40))
        .build()
        .pruneScores(model, List.of(batch));
    EdgeActivationPatching.builder()
        .edges(model.graph().edges().subList(0, 40))
        .build()
        .pruneScores(model, List.of(batch));
  }

  private static PromptPairBatch batch(int round) {
    PromptPair text = new PromptPair("clean", "corrupt", List.of("right"), List.of("wrong"));
    return new PromptPairBatch(
        List.of(text, text),
        RandomModels.prompts(CONFIG, 2, 8, round),
        RandomModels.prompts(CONFIG, 2, 8, round + 1),
        new long[][] {{1}, {2}},
        new long[][] {{3}, {4}});
  }

  private static void prefix(PatchableModel model, int round) {
    long[][] prompts = {{1, 2, 3, round % 64}, {4, 5}};
    try (PrefixCache prefix = model.prefixOf(RandomModels.prompts(CONFIG, 2, 8, round));
        PatchableModel after = model.withPrefix(prefix);
        SourceActivations activations =
            after.sourceAblations(prompts, BatchAblation.BATCH_TOKENWISE_MEAN)) {
      after.logits(prompts, PatchContext.of(activations, Masks.uniform(model.graph(), 0.3)));
      expectFailure(() -> after.logits(new long[3][2]));
      List<Tensor> keys = prefix.keys();
      expectFailure(() -> PrefixCache.of(keys, List.of()));
      expectFailure(() -> PrefixCache.of(keys, List.of(keys.get(0), new Tensor())));
      keys.forEach(Tensor::close);
    }
  }

  private static void train(PatchableModel model, int round) {
    long[][] prompts = RandomModels.prompts(CONFIG, 2, 8, round);
    try (SourceActivations activations = model.sourceAblations(prompts, BatchAblation.RESAMPLE);
        MaskParameters masks = model.newMaskParameters();
        PatchMode patching = model.patchMode(activations, masks);
        MaskFnMode function = model.maskFnMode(MaskFn.SIGMOID, 0.1);
        TrainMaskMode training = model.trainMaskMode(masks);
        PointerScope scope = new PointerScope()) {
      Tensor tokens = RandomModels.tokens(CONFIG, 2, 8, round);
      Tensor logits = model.forward(tokens);
      // Half of the graphs are never run backward.
      if (round % 2 == 0) {
        logits.mul(logits).sum().backward();
        masks.gradientArray();
      }
      try (MaskBatchSize size = model.setMaskBatchSize(masks, 2);
          TrainMaskMode again = model.trainMaskMode(masks);
          TrainMaskMode inner = model.trainMaskMode(masks)) {
        model.forward(tokens).sum().backward();
        masks.gradients();
      }
    }
    try (SourceActivations zeros = model.sourceAblations(prompts, BatchAblation.ZERO);
        PatchMode outer = model.patchMode(zeros);
        PatchMode inner = model.patchMode(zeros, EdgeSet.all(model.graph()))) {
      model.logits(prompts);
    }
  }

  private static void prune(Path folder, int round) {
    LatentPruning pruning =
        LatentPruning.builder().perPosition(round % 2 == 0).includeCorrupt(true).build();
    List<PromptPairBatch> batches = List.of(RandomModels.promptPairs(CONFIG, 2, 8, 1));
    try (Model plain = Checkpoints.load(folder);
        PointerScope scope = new PointerScope();
        Model sparse =
            plain.withAutoencoders(
                AutoencoderModels.weights(
                    List.of(0, 1), CONFIG.dModel(), 64, OptionalInt.empty(), Precision.FLOAT32, 1),
                true);
        Model pruned = pruning.prune(sparse, batches);
        PatchableModel model = PatchableModel.of(pruned, PatchableModelOptions.defaults())) {
      model.logits(batches.get(0).clean());
    }
  }

  private static void fail(PatchableModel model, Path folder) {
    long[][] prompts = RandomModels.prompts(CONFIG, 2, 8, 1);
    expectFailure(() -> model.logits(new long[][] {{CONFIG.dVocab()}}));
    expectFailure(() -> model.to("no-such-device").close());
    expectFailure(() -> PatchableModel.open(folder.resolve("nowhere")).close());
    expectFailure(() -> Model.of(CONFIG, Map.of()).close());
    try (SourceActivations activations = model.sourceAblations(prompts, BatchAblation.RESAMPLE);
        PointerScope scope = new PointerScope()) {
      Tensor tokens = RandomModels.tokens(CONFIG, 2, 8, 1);
      expectFailure(() -> model.patchModeByName(activations, List.of("A9.9->MLP 0")).close());
      expectFailure(
          () ->
              model.forward(
                  tokens.narrow(1, 0, 5).contiguous(),
                  PatchContext.of(activations, Masks.uniform(model.graph(), 0))));
      expectFailure(
          () ->
              PatchWrapper.interpolate(
                  activations.tensor().select(0, 0),
                  activations.tensor(),
                  activations.tensor(),
                  PatchWrapper.Mask.of(tokens, false, false)));
      expectFailure(
          () ->
              model.maskGradient(
                  tokens,
                  PatchContext.of(activations, Masks.uniform(model.graph(), 0)),
                  AnswerLoss.mse(GradFunction.LOGIT, activations.tensor())));
    }
  }

  private static void expectFailure(Runnable call) {
    try {
      call.run();
    } catch (RuntimeException e) {
      return;
    }
    throw new AssertionError("a call that should fail did not");
  }

  static double residentBytes() {
    System.gc();
    try {
      return Long.parseLong(Files.readString(Path.of("/proc/self/statm")).split(" ", -1)[1])
          * 4096.0;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The median of the slopes between all pairs (Theil and Sen), which single jumps do not move. */
  private static double slope(double[] values) {
    double[] slopes = new double[values.length * (values.length - 1) / 2];
    int n = 0;
    for (int i = 0; i < values.length; i++) {
      for (int j = i + 1; j < values.length; j++) {
        slopes[n++] = (values[j] - values[i]) / (j - i);
      }
    }
    Arrays.sort(slopes);
    return slopes[n / 2];
  }
}
