package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.MaskGradientResult;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Padded prompts and prefixes on random models of every kind in double precision: each prompt gives
 * what it gives by itself and as a whole.
 */
@ExtendWith(NativeScope.class)
class PaddingAndPrefixesTest {

  private static final String KINDS = "org.autocircuit.checkpoint.TransformerKindsTest#kinds";
  private static final double EXACT = 1e-9;
  private static final int SEQ = 3;
  private static final long[][] PREFIX = {{3, 14, 1, 5}};
  private static final long[][] PREFIXES = {{3, 14, 1, 5}, {9, 2, 6, 5}, {3, 5, 8, 9}};
  private static final long[][] CLEAN = {{7}, {8, 1, 2}, {11, 12}};
  private static final long[][] CORRUPT = {{16}, {4, 10, 13}, {15, 0}};
  private static final AnswerLoss LOSS =
      AnswerLoss.of(
          GradFunction.LOGPROB,
          AnswerFunction.AVG_DIFF,
          new long[][] {{3}, {1}, {7}},
          new long[][] {{2, 5}, {8, -1}, {4, 0}});

  private static PatchableModel patchable(TransformerConfig config, PatchableModelOptions options) {
    try (Model model = Model.of(config, TransformerKindsTest.randomWeights(config))) {
      return PatchableModel.of(model, options);
    }
  }

  private static PatchableModel patchable(TransformerConfig config) {
    return patchable(config, TransformerKindsTest.graphs(config).get(0));
  }

  private static ModelInput prompts(long[]... tokens) {
    return ModelInput.ofPrompts(tokens, TestDevice.NAME);
  }

  private static long[] joined(long[]... parts) {
    return Arrays.stream(parts).flatMapToLong(Arrays::stream).toArray();
  }

  /** Logits of all positions of one prompt, and the outputs of all sources there. */
  private static ForwardResult run(PatchableModel model, ModelInput input, PatchContext context) {
    return model.forward(
        ForwardRequest.of(input)
            .withContext(context)
            .withOutputSlice(OutputSlice.ALL)
            .withSourceOutputs());
  }

  /** That the last positions of a row are those of a prompt that was run by itself. */
  private static void assertEnd(ForwardResult batch, int row, ForwardResult alone, int tokens) {
    Tensor logits = batch.logits().select(0, row);
    Tensor own = alone.logits().select(0, 0);
    assertClose(end(logits, 0, tokens), end(own, 0, tokens));
    Tensor sources = batch.sourceOutputs().orElseThrow().select(1, row);
    Tensor ownSources = alone.sourceOutputs().orElseThrow().select(1, 0);
    assertClose(end(sources, 1, tokens), end(ownSources, 1, tokens));
  }

  private static Tensor end(Tensor tensor, int dimension, int tokens) {
    return tensor.narrow(dimension, tensor.size(dimension) - tokens, tokens);
  }

  private static void assertClose(Tensor actual, Tensor expected) {
    assertThat(TensorArrays.doubles(actual))
        .containsExactly(TensorArrays.doubles(expected), within(EXACT));
  }

  @ParameterizedTest
  @MethodSource(KINDS)
  void paddedPromptsGiveWhatTheyGiveAlone(TransformerConfig config) {
    try (PatchableModel model = patchable(config)) {
      ForwardResult batch = run(model, prompts(CLEAN), PatchContext.NONE);
      assertThat(batch.logits().shape()).containsExactly(CLEAN.length, SEQ, config.dVocab());
      for (int row = 0; row < CLEAN.length; row++) {
        ForwardResult alone = run(model, prompts(CLEAN[row]), PatchContext.NONE);
        assertEnd(batch, row, alone, CLEAN[row].length);
        assertThat(model.logits(CLEAN)[row])
            .containsExactly(model.logits(new long[][] {CLEAN[row]})[0], within(1e-5f));
      }
    }
  }

  @ParameterizedTest
  @MethodSource(KINDS)
  void promptsAfterAPrefixAreTheEndsOfWholePrompts(TransformerConfig config) {
    try (PatchableModel model = patchable(config);
        PrefixCache shared = model.prefixOf(PREFIX);
        PrefixCache own = model.prefixOf(PREFIXES)) {
      ForwardResult afterShared = run(model, prompts(CLEAN).withPrefix(shared), PatchContext.NONE);
      ForwardResult afterOwn = run(model, prompts(CLEAN).withPrefix(own), PatchContext.NONE);
      for (int row = 0; row < CLEAN.length; row++) {
        int tokens = CLEAN[row].length;
        ForwardResult whole = run(model, prompts(joined(PREFIX[0], CLEAN[row])), PatchContext.NONE);
        assertEnd(afterShared, row, whole, tokens);
        whole = run(model, prompts(joined(PREFIXES[row], CLEAN[row])), PatchContext.NONE);
        assertEnd(afterOwn, row, whole, tokens);
      }
      assertThat(TensorArrays.doubles(afterOwn.logits()))
          .isNotEqualTo(TensorArrays.doubles(afterShared.logits()));
    }
  }

  @ParameterizedTest
  @MethodSource(KINDS)
  void aPrefixAfterAPrefixIsBoth(TransformerConfig config) {
    long[][] first = {{3, 14}};
    long[][] rest = {{1, 5}, {6, 5}, {8, 9}};
    try (PatchableModel model = patchable(config);
        PrefixCache start = model.prefixOf(first);
        PatchableModel afterStart = model.withPrefix(start);
        PrefixCache both = afterStart.prefixOf(rest);
        PatchableModel afterBoth = afterStart.withPrefix(both)) {
      assertThat(both.length()).isEqualTo(4);
      assertThat(both.batch()).isEqualTo(3);
      ForwardResult batch = run(afterBoth, prompts(CLEAN), PatchContext.NONE);
      for (int row = 0; row < CLEAN.length; row++) {
        long[] whole = joined(first[0], rest[row], CLEAN[row]);
        ForwardResult alone = run(model, prompts(whole), PatchContext.NONE);
        assertEnd(batch, row, alone, CLEAN[row].length);
      }
    }
  }

  @ParameterizedTest
  @MethodSource(KINDS)
  void masksOfZeroAreTheCleanRunAndMasksOfOneTheCorruptRun(TransformerConfig config) {
    for (PatchableModelOptions options : TransformerKindsTest.graphs(config)) {
      try (PatchableModel plain = patchable(config, options);
          PrefixCache prefix = plain.prefixOf(PREFIXES);
          PatchableModel model = plain.withPrefix(prefix);
          SourceActivations patches = model.sourceAblations(CORRUPT, BatchAblation.RESAMPLE)) {
        Tensor clean = run(model, prompts(CLEAN), PatchContext.NONE).logits();
        Tensor corrupt = run(model, prompts(CORRUPT), PatchContext.NONE).logits();
        PatchContext none = PatchContext.of(patches, Masks.uniform(model.graph(), 0));
        assertClose(run(model, prompts(CLEAN), none).logits(), clean);
        PatchContext all = PatchContext.of(patches, Masks.uniform(model.graph(), 1));
        assertClose(run(model, prompts(CLEAN), all).logits(), corrupt);
        assertThat(TensorArrays.doubles(corrupt)).isNotEqualTo(TensorArrays.doubles(clean));
      }
    }
  }

  @ParameterizedTest
  @MethodSource(KINDS)
  void patchedPromptsGiveWhatTheyGiveAlone(TransformerConfig config) {
    for (PatchableModelOptions options : TransformerKindsTest.graphs(config)) {
      if (options.seqLen().isPresent()) {
        continue; // by themselves the prompts have other positions
      }
      try (PatchableModel model = patchable(config, options);
          PrefixCache prefixes = model.prefixOf(PREFIXES)) {
        Masks masks = Masks.of(model.graph(), random(model.graph().maskSize(), 4));
        ForwardResult batch = patched(model, prompts(CLEAN), prompts(CORRUPT), prefixes, masks);
        for (int row = 0; row < CLEAN.length; row++) {
          try (PrefixCache prefix = model.prefixOf(new long[][] {PREFIXES[row]})) {
            ForwardResult alone =
                patched(model, prompts(CLEAN[row]), prompts(CORRUPT[row]), prefix, masks);
            assertEnd(batch, row, alone, CLEAN[row].length);
          }
        }
      }
    }
  }

  private static ForwardResult patched(
      PatchableModel model, ModelInput clean, ModelInput corrupt, PrefixCache prefix, Masks masks) {
    try (SourceActivations patches =
        model.sourceAblations(corrupt.withPrefix(prefix), BatchAblation.RESAMPLE)) {
      return run(model, clean.withPrefix(prefix), PatchContext.of(patches, masks));
    }
  }

  @ParameterizedTest
  @MethodSource(KINDS)
  void gradientsAreFiniteDifferences(TransformerConfig config) {
    for (PatchableModelOptions options : TransformerKindsTest.graphs(config)) {
      try (PatchableModel plain = patchable(config, options);
          PrefixCache prefix = plain.prefixOf(PREFIX);
          PatchableModel model = plain.withPrefix(prefix);
          SourceActivations patches = model.sourceAblations(CORRUPT, BatchAblation.RESAMPLE)) {
        int size = model.graph().maskSize();
        double[] masks = random(size, 1);
        double[] direction = random(size, 2);
        double[] gradient =
            TensorArrays.doubles(gradient(model, patches, masks, direction, 0).gradient());
        double step = 1e-5;
        double up = gradient(model, patches, masks, direction, step).loss().item_double();
        double down = gradient(model, patches, masks, direction, -step).loss().item_double();
        double expected =
            IntStream.range(0, size).mapToDouble(i -> gradient[i] * direction[i]).sum();
        assertThat((up - down) / (2 * step))
            .isCloseTo(expected, within(1e-6 * (1 + Math.abs(expected))));
        assertThat(Arrays.stream(gradient).map(Math::abs).max().orElseThrow()).isGreaterThan(1e-4);
      }
    }
  }

  private static MaskGradientResult gradient(
      PatchableModel model,
      SourceActivations patches,
      double[] masks,
      double[] direction,
      double step) {
    double[] moved =
        IntStream.range(0, masks.length).mapToDouble(i -> masks[i] + step * direction[i]).toArray();
    PatchContext context = PatchContext.of(patches, Masks.of(model.graph(), moved));
    return model.maskGradient(CLEAN, context, LOSS);
  }

  /** Tokens under the padding must not matter, whatever the layout. */
  @ParameterizedTest
  @MethodSource(KINDS)
  void paddingAndPrefixesOfRandomLengths(TransformerConfig config) {
    Random random = new Random(8);
    try (PatchableModel model = patchable(config)) {
      for (int trial = 0; trial < 5; trial++) {
        int prefix = 1 + random.nextInt(4);
        int seq = 1 + random.nextInt(config.nCtx() - prefix);
        List<long[]> wholes = new ArrayList<>();
        long[][] tokens = randomTokens(config, random, 4, seq);
        long[][] mask = new long[4][seq];
        long[][] prefixes = randomTokens(config, random, 4, prefix);
        for (int row = 0; row < 4; row++) {
          int length = 1 + random.nextInt(seq);
          Arrays.fill(mask[row], seq - length, seq, 1);
          long[] own = Arrays.copyOfRange(tokens[row], seq - length, seq);
          wholes.add(joined(prefixes[row], own));
        }
        try (PrefixCache cache = model.prefixOf(prefixes)) {
          ForwardResult batch =
              run(
                  model,
                  ModelInput.of(TensorArrays.of(tokens, "tokens", TestDevice.NAME))
                      .withAttentionMask(TensorArrays.of(mask, "mask", TestDevice.NAME))
                      .withPrefix(cache),
                  PatchContext.NONE);
          for (int row = 0; row < 4; row++) {
            ForwardResult alone = run(model, prompts(wholes.get(row)), PatchContext.NONE);
            assertEnd(batch, row, alone, wholes.get(row).length - prefix);
          }
        }
      }
    }
  }

  private static long[][] randomTokens(
      TransformerConfig config, Random random, int rows, int columns) {
    return IntStream.range(0, rows)
        .mapToObj(row -> random.longs(columns, 0, config.dVocab()).toArray())
        .toArray(long[][]::new);
  }

  private static double[] random(int size, long seed) {
    return new Random(seed).doubles(size).toArray();
  }
}
