package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.Close.assertClose;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntFunction;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.SentencePieceTokenizer;
import org.autocircuit.checkpoint.FamilyFolders;
import org.autocircuit.checkpoint.FamilyModels;
import org.autocircuit.checkpoint.LoadOptions;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PlanPolicy;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.tokenizer.Tokenizer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every step of a patched answer has the logits of one uncached pass of the reference executor over
 * prompt and answer, in all families. Answers are given, so that they are the same in both.
 */
class PatchedGenerationTest {

  private static final int PROMPT = 6;
  private static final int ANSWER = 8;

  /** Tokens that are computed: the answer's last one is not. */
  private static final int COMPUTED = PROMPT + ANSWER - 1;

  @TempDir Path folder;

  private PatchableModel model;
  private long[] prompt;
  private long[] corrupt;
  private int[] answer;
  private int[] donorAnswer;

  static Stream<Arguments> models() {
    PatchableModelOptions grouped = PatchableModelOptions.defaults();
    return Stream.of(FamilyModels.names())
        .flatMap(
            name ->
                Stream.of(
                        grouped, grouped.withUngroupKeyValues(true), grouped.withSeparateQkv(false))
                    .map(options -> Arguments.of(name, options, Precision.FLOAT64)))
        .flatMap(
            each ->
                each.get()[1] == grouped
                    ? Stream.of(each, Arguments.of(each.get()[0], grouped, Precision.FLOAT32))
                    : Stream.of(each));
  }

  @ParameterizedTest
  @MethodSource("models")
  void everyStepIsThatOfOneUncachedPass(
      String name, PatchableModelOptions options, Precision precision) {
    FamilyFolders.write(name, folder);
    LoadOptions load = LoadOptions.DEFAULT.withPrecision(precision);
    double tolerance = precision == Precision.FLOAT64 ? 1e-9 : 1e-5;
    try (PointerScope scope = new PointerScope();
        PatchableModel opened = PatchableModel.open(folder, load, options);
        PatchableModel positions = opened.withOptions(options.withSeqLen(COMPUTED))) {
      model = opened;
      TransformerConfig config = (TransformerConfig) model.config();
      prompt = RandomModels.prompts(config, 1, PROMPT, 1)[0];
      corrupt = RandomModels.prompts(config, 1, PROMPT, 2)[0];
      answer = ints(RandomModels.prompts(config, 1, ANSWER, 3)[0]);
      donorAnswer = ints(RandomModels.prompts(config, 1, ANSWER, 4)[0]);
      try (Generator generator = Generator.builder(model).chunkTokens(4).build();
          SourceActivations followed = sources(corrupt, answer);
          SourceActivations free = sources(corrupt, donorAnswer);
          SourceActivations zero = sources(corrupt, answer, BatchAblation.ZERO)) {
        Masks masks = Masks.of(model.graph(), RandomModels.masks(model.graph(), 5));
        Masks other = Masks.of(model.graph(), RandomModels.masks(model.graph(), 6));
        GenerationPatch follows = GenerationPatch.resample(corrupt, masks, Donor.FOLLOWS);
        Map<GenerationPatch, Expected> cases = new LinkedHashMap<>();
        cases.put(follows, new Expected(followed, p -> masks));
        cases.put(
            GenerationPatch.resample(corrupt, masks, Donor.FREE), new Expected(free, p -> masks));
        cases.put(GenerationPatch.zero(masks), new Expected(zero, p -> masks));
        cases.put(follows.at(Span.PROMPT), new Expected(followed, p -> p < PROMPT ? masks : null));
        cases.put(follows.at(Span.ANSWER), new Expected(followed, p -> p < PROMPT ? null : masks));
        cases.put(follows.switchedTo(other, 9), new Expected(followed, p -> p < 9 ? masks : other));
        cases.put(
            GenerationPatch.positions(followed, masks, Beyond.REFUSE),
            new Expected(followed, p -> masks));
        double[][] unpatchedPrompt = run(generator, follows.at(Span.ANSWER));
        cases.forEach(
            (patch, expected) -> {
              double[][] got = run(generator, patch);
              double[][] want = reference(positions, expected);
              assertThat(difference(got, want)).as("%s", patch).isLessThan(tolerance);
              if (patch == follows) {
                // Anything kept of an unpatched prompt would be seen.
                assertThat(difference(unpatchedPrompt, want)).isGreaterThan(100 * tolerance);
              }
            });
        assertThat(run(generator, GenerationPatch.zero(Masks.uniform(model.graph(), 0))))
            .isDeepEqualTo(run(generator, GenerationPatch.NONE));
        Masks all = Masks.uniform(model.graph(), 1);
        double[][] plain = plain(corrupt, answer);
        assertThat(
                difference(
                    run(generator, GenerationPatch.resample(corrupt, all, Donor.FOLLOWS)), plain))
            .isLessThan(tolerance);
      }
    }
  }

  @Test
  void whatIsAddedReadAndHeldIsThatOfPasses() {
    try (PointerScope scope = new PointerScope();
        PatchableModel opened =
            RandomModels.patchable(
                RandomModels.config(2, 16, 4, 4, 32, 29, 20),
                Precision.FLOAT64,
                PatchableModelOptions.defaults(),
                7);
        SourceActivations mean =
            opened.sourceAblations(
                RandomModels.prompts((TransformerConfig) opened.config(), 3, 5, 8),
                BatchAblation.BATCH_ALL_TOK_MEAN);
        Generator generator = Generator.builder(opened).chunkTokens(4).build()) {
      model = opened;
      prompt = RandomModels.prompts((TransformerConfig) model.config(), 1, PROMPT, 1)[0];
      answer = ints(RandomModels.prompts((TransformerConfig) model.config(), 1, ANSWER, 3)[0]);
      String steered = "blocks.0.hook_resid_mid";
      String read = "blocks.1.hook_resid_post";
      float[] vector = new float[16];
      Arrays.fill(vector, 0.25f);
      vector[3] = -2;
      Masks masks = Masks.of(model.graph(), RandomModels.masks(model.graph(), 5));
      List<double[]> seen = new ArrayList<>();
      GenerationRequest request =
          GenerationRequest.of(prompt)
              .withPatch(GenerationPatch.constant(mean, masks))
              .withStop(Stop.after(ANSWER))
              .withSteering(Steering.of(steered, vector).times(2).at(Span.from(4)))
              .withSteering(Steering.of(steered, vector).at(Span.ANSWER))
              .withReads(read)
              .withSampler(
                  () ->
                      (logits, step) -> {
                        seen.add(logits.clone());
                        return answer[step];
                      });
      Generation generation = generator.submit(request);
      GenerationResult result = generation.result().join();
      double[] added = new double[COMPUTED * 16];
      for (int i = 0; i < added.length; i++) {
        int position = i / 16;
        added[i] = vector[i % 16] * (position < 4 ? 0 : position < PROMPT ? 2 : 3);
      }
      ScalarType type = Precision.FLOAT64.scalarType();
      Tensor frozen =
          mean.tensor().narrow(1, 0, 1).narrow(2, 0, 1).expand(-1, 1, COMPUTED, -1).contiguous();
      try (SourceActivations everywhere = SourceActivations.of(frozen)) {
        ForwardResult pass =
            model.forward(
                ForwardRequest.of(new long[][] {joined(prompt, answer)})
                    .withContext(PatchContext.of(everywhere, masks))
                    .withAdded(steered, TensorArrays.of(added, type, "cpu", 1, COMPUTED, 16))
                    .withReads(read)
                    .withOutputSlice(OutputSlice.ALL)
                    .withPlanPolicy(PlanPolicy.REFERENCE));
        Tensor stream = pass.reads().get(read);
        for (int step = 0; step < ANSWER; step++) {
          int position = PROMPT - 1 + step;
          double[] logits = TensorArrays.doubles(pass.logits().select(0, 0).select(0, position));
          assertClose("logits", seen.get(step), logits, 1e-9);
          assertClose(
              "read",
              doubles(generation.reads(step).get(read)),
              TensorArrays.doubles(stream.select(0, 0).select(0, position)),
              1e-6);
          double all = Arrays.stream(logits).map(StrictMath::exp).sum();
          assertThat(result.tokens().get(step).logProb())
              .isCloseTo(logits[answer[step]] - StrictMath.log(all), within(1e-9));
        }
      }
    }
  }

  private static double[] doubles(float[] values) {
    double[] wide = new double[values.length];
    Arrays.setAll(wide, i -> values[i]);
    return wide;
  }

  @Test
  void whatIsBehindTheLastPositionIsHeldOrNothing() {
    try (PointerScope scope = new PointerScope();
        PatchableModel opened =
            RandomModels.patchable(
                RandomModels.config(2, 16, 4, 4, 32, 29, 20),
                Precision.FLOAT64,
                PatchableModelOptions.defaults(),
                7);
        PatchableModel positions =
            opened.withOptions(PatchableModelOptions.defaults().withSeqLen(COMPUTED));
        Generator generator = Generator.builder(opened).build()) {
      model = opened;
      TransformerConfig config = (TransformerConfig) model.config();
      prompt = RandomModels.prompts(config, 1, PROMPT, 1)[0];
      corrupt = RandomModels.prompts(config, 1, PROMPT, 2)[0];
      answer = ints(RandomModels.prompts(config, 1, ANSWER, 3)[0]);
      Masks masks = Masks.of(model.graph(), RandomModels.masks(model.graph(), 5));
      int length = 8;
      try (SourceActivations all = sources(corrupt, answer);
          SourceActivations some =
              SourceActivations.of(all.tensor().narrow(2, 0, length).contiguous());
          SourceActivations held =
              SourceActivations.of(
                  torch.cat(
                      new TensorVector(
                          all.tensor().narrow(2, 0, length),
                          all.tensor()
                              .narrow(2, length - 1, 1)
                              .expand(-1, -1, COMPUTED - length, -1)),
                      2))) {
        assertThat(
                difference(
                    run(generator, GenerationPatch.positions(some, masks, Beyond.HOLD_LAST)),
                    reference(positions, new Expected(held, p -> masks))))
            .isLessThan(1e-9);
        assertThat(
                difference(
                    run(generator, GenerationPatch.positions(some, masks, Beyond.NONE)),
                    reference(positions, new Expected(held, p -> p < length ? masks : null))))
            .isLessThan(1e-9);
      }
    }
  }

  @Test
  void answersStopAtTexts() throws IOException {
    int tokens = SentencePieceTokenizer.write(folder);
    try (PatchableModel opened =
            RandomModels.patchable(
                RandomModels.config(2, 16, 4, 4, 32, tokens, 60),
                Precision.FLOAT32,
                PatchableModelOptions.defaults(),
                7);
        Tokenizer tokenizer = Tokenizer.load(folder);
        Generator generator = Generator.builder(opened).tokenizer(tokenizer).build()) {
      long[] text = tokenizer.encode("The sheep sat. She", false);
      GenerationRequest request =
          GenerationRequest.of(new long[] {1, 5})
              .withSampler(() -> (logits, step) -> (int) text[step])
              .withStop(Stop.after(text.length));
      try (Generation whole = generator.submit(request)) {
        assertThat(whole.result().join().ids()).isEqualTo(text);
      }
      try (Generation stopped =
          generator.submit(request.withStop(Stop.after(text.length).atTexts("p s", "nothing")))) {
        long[] ids = stopped.result().join().ids();
        assertThat(stopped.finishReason()).hasValue(FinishReason.STOP_TEXT);
        assertThat(tokenizer.decode(ids)).isEqualTo("The sheep s");
      }
    }
  }

  /** Something that patches, and the masks of a position; {@code null}: none. */
  private record Expected(SourceActivations sources, IntFunction<Masks> masks) {}

  private SourceActivations sources(long[] begin, int[] end) {
    return sources(begin, end, BatchAblation.RESAMPLE);
  }

  private SourceActivations sources(long[] begin, int[] end, BatchAblation ablation) {
    return model.sourceAblations(new long[][] {joined(begin, end)}, ablation);
  }

  /** All that is computed of a prompt and its answer. */
  private static long[] joined(long[] begin, int[] end) {
    long[] tokens = Arrays.copyOf(begin, COMPUTED);
    for (int i = 0; i < ANSWER - 1; i++) {
      tokens[PROMPT + i] = end[i];
    }
    return tokens;
  }

  /** Logits of each step of the given answer. */
  private double[][] run(Generator generator, GenerationPatch patch) {
    List<double[]> seen = new ArrayList<>();
    int[] samplers = {0};
    GenerationRequest request =
        GenerationRequest.of(prompt)
            .withPatch(patch)
            .withStop(Stop.after(ANSWER))
            .withSampler(
                () -> {
                  boolean isDonor = samplers[0]++ > 0;
                  return (logits, step) -> {
                    if (!isDonor) {
                      seen.add(logits.clone());
                    }
                    return (isDonor ? donorAnswer : answer)[step];
                  };
                });
    generator.submit(request).result().join();
    return seen.toArray(double[][]::new);
  }

  private double[][] plain(long[] begin, int[] end) {
    return logits(model, begin, end, PatchContext.NONE);
  }

  /** The same logits from one pass, with masks for each position. */
  private double[][] reference(PatchableModel positions, Expected expected) {
    ModelGraph graph = positions.graph();
    double[] values = new double[graph.maskSize()];
    for (int p = 0; p < COMPUTED; p++) {
      Masks here = expected.masks().apply(p);
      if (here != null) {
        for (Edge edge : model.graph().edges()) {
          values[graph.index(edge.name(), p)] = here.get(model.graph().index(edge));
        }
      }
    }
    return logits(
        positions, prompt, answer, PatchContext.of(expected.sources(), Masks.of(graph, values)));
  }

  private static double[][] logits(
      PatchableModel model, long[] begin, int[] end, PatchContext context) {
    try (PointerScope scope = new PointerScope()) {
      Tensor all =
          model
              .forward(
                  ForwardRequest.of(new long[][] {joined(begin, end)})
                      .withContext(context)
                      .withOutputSlice(OutputSlice.ALL)
                      .withPlanPolicy(PlanPolicy.REFERENCE)
                      .withGrad(false))
              .logits();
      double[][] rows = new double[ANSWER][];
      for (int step = 0; step < ANSWER; step++) {
        rows[step] = TensorArrays.doubles(all.select(0, 0).select(0, PROMPT - 1 + step));
      }
      return rows;
    }
  }

  /** The largest difference in parts of the largest value. */
  private static double difference(double[][] got, double[][] want) {
    assertThat(got).hasSameDimensionsAs(want);
    double most = 0;
    double largest = 0;
    for (int i = 0; i < want.length; i++) {
      for (int j = 0; j < want[i].length; j++) {
        most = Math.max(most, Math.abs(got[i][j] - want[i][j]));
        largest = Math.max(largest, Math.abs(want[i][j]));
      }
    }
    return most / largest;
  }

  private static int[] ints(long[] values) {
    return Arrays.stream(values).mapToInt(value -> (int) value).toArray();
  }
}
