package org.autocircuit.pass;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.autocircuit.Close.assertClose;
import static org.autocircuit.Close.assertDiffer;
import static org.autocircuit.RandomModels.SMALL;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.TestDevice;
import org.autocircuit.TestModels;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.mode.TrainMaskMode;
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
import org.junit.jupiter.api.extension.ExtendWith;

/** Caches as objects; what passes after a prefix compute is in PaddingAndPrefixesTest. */
@ExtendWith(NativeScope.class)
class PrefixCacheTest {

  private static final long[][] PROMPTS = {{1, 2, 3}, {4, 5, 6}};

  private final PatchableModel model =
      RandomModels.patchable(SMALL, Precision.FLOAT64, PatchableModelOptions.defaults(), 5);

  @AfterEach
  void close() {
    model.close();
  }

  private Tensor logits(PatchableModel on) {
    return on.forward(TensorArrays.of(PROMPTS, "tokens", TestDevice.NAME));
  }

  @Test
  void tensorsOfOnesOwnAreWhatAModelMakes() {
    try (PrefixCache made = model.prefixOf(new long[][] {{7, 8}})) {
      assertThat(made.batch()).isEqualTo(1);
      assertThat(made.length()).isEqualTo(2);
      assertThat(made).hasToString("PrefixCache of 2 tokens");
      assertThat(made.keys()).hasSize(2).allMatch(keys -> keys.size(2) == SMALL.nHeads());
      List<Tensor> keys = made.keys().stream().map(Tensor::clone).toList();
      List<Tensor> values =
          made.values().stream().map(t -> t.clone().set_requires_grad(true)).toList();
      PrefixCache own = PrefixCache.of(keys, values);
      keys.forEach(Tensor::close);
      values.forEach(Tensor::close);
      try (own;
          PatchableModel afterMade = model.withPrefix(made);
          PatchableModel afterOwn = model.withPrefix(own)) {
        Tensor logits = logits(afterOwn);
        assertThat(logits.requires_grad()).isFalse();
        assertClose("logits", logits, logits(afterMade), 0);
        assertDiffer("with and without a prefix", logits, logits(model));
      }
    }
  }

  @Test
  void aCacheOfOneRowServesEveryBatchAndOneOfSeveralItsOwn() {
    try (PrefixCache one = model.prefixOf(new long[][] {{7, 8}});
        PrefixCache two = model.prefixOf(new long[][] {{7, 8}, {7, 8}});
        PatchableModel afterOne = model.withPrefix(one);
        PatchableModel afterTwo = model.withPrefix(two)) {
      float[][] both = afterOne.logits(PROMPTS);
      assertThat(afterTwo.logits(PROMPTS)).isEqualTo(both);
      assertThat(afterOne.logits(new long[5][3])).hasNumberOfRows(5);
      for (int size : new int[] {1, 3}) {
        assertThatIllegalArgumentException()
            .isThrownBy(() -> afterTwo.logits(new long[size][3]))
            .withMessage(
                "prefix: expected one row for all prompts or one for each of %s, got 2 rows", size);
      }
    }
  }

  @Test
  void aRequestsPrefixTakesThePlaceOfTheModels() {
    try (PrefixCache first = model.prefixOf(new long[][] {{7, 8}});
        PrefixCache second = model.prefixOf(new long[][] {{9}});
        PatchableModel afterFirst = model.withPrefix(first);
        PatchableModel afterSecond = afterFirst.withPrefix(second)) {
      assertThat(afterFirst.prefix()).containsSame(first);
      assertThat(afterSecond.prefix()).containsSame(second);
      assertThat(model.prefix()).isEmpty();
      assertThat(afterFirst.toString()).endsWith("with a PrefixCache of 2 tokens");
      ForwardRequest request =
          ForwardRequest.of(TensorArrays.of(PROMPTS, "tokens", TestDevice.NAME)).withPrefix(second);
      Tensor expected = logits(afterSecond);
      assertClose("request", model.forward(request).logits(), expected, 0);
      assertClose("in place", afterFirst.forward(request).logits(), expected, 0);
      assertDiffer("prefixes", logits(afterFirst), expected);
    }
  }

  /** Does what algorithms do: modes, masks of their own, and gradients. */
  @Test
  void everythingOnAModelWithAPrefixRunsAfterIt() {
    try (PrefixCache prefix = model.prefixOf(new long[][] {{7, 8}});
        PatchableModel after = model.withPrefix(prefix);
        SourceActivations corrupt =
            after.sourceAblations(new long[][] {{3, 2, 1}, {6, 5, 4}}, BatchAblation.RESAMPLE)) {
      assertThat(after.graph()).isEqualTo(model.graph());
      Masks masks = Masks.of(after.graph(), RandomModels.masks(after.graph(), 2));
      Tensor tokens = TensorArrays.of(PROMPTS, "tokens", TestDevice.NAME);
      Tensor expected =
          model
              .forward(
                  ForwardRequest.of(tokens)
                      .withPrefix(prefix)
                      .withContext(PatchContext.of(corrupt, masks)))
              .logits();
      assertClose("context", after.forward(tokens, PatchContext.of(corrupt, masks)), expected, 0);
      try (PatchMode mode = after.patchMode(corrupt, masks)) {
        assertClose("mode", logits(after), expected, 0);
        assertDiffer("the mode of another model", logits(model), expected);
      }
      try (MaskParameters parameters = after.newMaskParameters()) {
        parameters.set(masks.toArray());
        try (PatchMode mode = after.patchMode(corrupt, parameters);
            TrainMaskMode training = after.trainMaskMode(parameters)) {
          Tensor logits = logits(after);
          assertClose("training", logits, expected, 1e-12);
          logits.sum().backward();
        }
        assertThat(Arrays.stream(parameters.gradientArray()).map(Math::abs).max().orElseThrow())
            .isGreaterThan(1e-3);
      }
    }
  }

  @Test
  void startingAtABlockIsTheWholeRun() {
    try (PrefixCache prefix = model.prefixOf(new long[][] {{7, 8}});
        PatchableModel after = model.withPrefix(prefix)) {
      ModelInput input = ModelInput.ofPrompts(new long[][] {{1, 2, 3}, {4}}, TestDevice.NAME);
      String hook = "blocks.1.hook_resid_pre";
      ForwardResult whole = after.forward(ForwardRequest.of(input).withReads(hook));
      ForwardResult late =
          after.forward(
              ForwardRequest.startingAt(1, whole.read(hook))
                  .withAttentionMask(input.attentionMask().orElseThrow()));
      assertClose("logits", late.logits(), whole.logits(), 1e-12);
    }
  }

  @Test
  void manyThreadsShareACache() throws Exception {
    try (PrefixCache prefix = model.prefixOf(new long[][] {{7, 8}});
        PatchableModel after = model.withPrefix(prefix)) {
      float[][] expected = after.logits(PROMPTS);
      ExecutorService threads = Executors.newFixedThreadPool(8);
      try {
        List<Future<float[][]>> results = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
          results.add(threads.submit(() -> after.logits(PROMPTS)));
        }
        for (Future<float[][]> result : results) {
          assertThat(result.get()).isEqualTo(expected);
        }
      } finally {
        threads.shutdown();
      }
    }
  }

  @Test
  void aClosedCacheSaysSo() {
    PrefixCache prefix = model.prefixOf(new long[][] {{7, 8}});
    try (PatchableModel after = model.withPrefix(prefix)) {
      prefix.close();
      prefix.close();
      assertThat(prefix.isClosed()).isTrue();
      assertThatIllegalStateException()
          .isThrownBy(() -> after.logits(PROMPTS))
          .withMessage("PrefixCache is closed");
      assertThatIllegalStateException().isThrownBy(prefix::keys);
      assertThat(model.logits(PROMPTS)).hasNumberOfRows(2);
    }
  }

  @Test
  void tensorsMustBeAlikeAndFitTheModel() {
    try (PrefixCache prefix = model.prefixOf(new long[][] {{7, 8}})) {
      List<Tensor> keys = prefix.keys();
      List<Tensor> values = prefix.values();
      assertThatIllegalArgumentException()
          .isThrownBy(() -> PrefixCache.of(keys, values.subList(0, 1)))
          .withMessage("prefix: expected keys and values of each block, got 2 and 1");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> PrefixCache.of(List.of(keys.get(0).select(0, 0)), values.subList(0, 1)))
          .withMessageContaining("keys of block 0: expected shape [1 or batch, prefix,");
      assertThatIllegalArgumentException()
          .isThrownBy(
              () -> PrefixCache.of(keys, List.of(values.get(0), values.get(1).narrow(1, 0, 1))))
          .withMessageContaining("values of block 1: expected shape")
          .withMessageContaining("[1, 2, 3, 2], got [1, 1, 3, 2]");
      assertThatIllegalArgumentException()
          .isThrownBy(
              () ->
                  PrefixCache.of(
                      keys,
                      List.of(values.get(0), values.get(1).to(Precision.FLOAT32.scalarType()))))
          .withMessage("values of block 1: expected dtype Double, got Float");
      assertThatIllegalArgumentException()
          .isThrownBy(
              () ->
                  PrefixCache.of(
                      keys.stream().map(t -> t.narrow(1, 0, 0)).toList(),
                      values.stream().map(t -> t.narrow(1, 0, 0)).toList()))
          .withMessageContaining("at least one row and one token");
      try (PrefixCache half = PrefixCache.of(keys.subList(0, 1), values.subList(0, 1))) {
        assertThatIllegalArgumentException()
            .isThrownBy(() -> model.withPrefix(half))
            .withMessageContaining(
                "[any, any, 3, 2] of Double on " + model.device() + " in 2 blocks")
            .withMessageContaining("got [1, 2, 3, 2] of Double on " + model.device() + " in 1");
      }
      try (PatchableModel micro = TestModels.micro(PatchableModelOptions.defaults());
          PointerScope scope = new PointerScope()) {
        assertThatIllegalArgumentException()
            .isThrownBy(() -> micro.withPrefix(prefix))
            .withMessageContaining("no attention");
        assertThatIllegalArgumentException()
            .isThrownBy(() -> micro.prefixOf(new long[][] {{1}}))
            .withMessageContaining("model: expected one with attention");
      }
    }
  }

  @Test
  void aModelWithAPrefixStaysOnItsDevice() {
    try (PrefixCache prefix = model.prefixOf(new long[][] {{7, 8}});
        PatchableModel after = model.withPrefix(prefix)) {
      assertThatIllegalStateException()
          .isThrownBy(() -> after.to(TestDevice.NAME))
          .withMessageContaining("cannot be moved");
    }
  }
}
