package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.TestModels;
import org.autocircuit.checkpoint.ModelSamples;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.Node;
import org.autocircuit.known.KnownModel;
import org.autocircuit.known.KnownTask;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.PatchType;
import org.autocircuit.sae.AutoencoderModels;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class ActivationPatchingTest {

  private static final int SEQ = 4;
  private static final PromptMetric LOGITS = PromptMetric.answerDifference(AnswerScale.LOGIT);

  static Stream<TransformerConfig> kinds() {
    return ModelSamples.kinds();
  }

  /** Two batches, which differ in size and in where clean and corrupt begin to. */
  private static List<PromptPairBatch> prompts(TransformerConfig config) {
    PromptPairBatch late = RandomModels.promptPairs(config, 2, SEQ, 40);
    for (int row = 0; row < late.size(); row++) {
      late.corrupt()[row][0] = late.clean()[row][0];
    }
    return List.of(
        RandomModels.promptPairs(config, 3, SEQ, 110),
        new PromptPairBatch(
            late.pairs(), late.clean(), late.corrupt(), late.answers(), late.wrongAnswers()));
  }

  private static int block(Node node) {
    String name = node.name();
    if (name.startsWith("Resid")) {
      return name.equals("Resid Start") ? -1 : Integer.MAX_VALUE;
    }
    return Integer.parseInt(name.replaceAll("^(?:A|MLP )(\\d+).*$", "$1"));
  }

  /** Returns whether patching what a row names patches what goes along an edge. */
  private static boolean isPatched(ActivationSite site, String row, Edge edge) {
    int of = Integer.parseInt(row.replaceAll("^\\D*(\\d+).*$", "$1"));
    String source = edge.src().name();
    return switch (site) {
      case RESIDUAL -> block(edge.src()) < of && block(edge.dest()) >= of;
      case ATTENTION -> source.startsWith("A" + of + ".");
      case MLP -> source.matches("MLP " + of + "( .*)?");
      case HEADS -> source.equals(row);
    };
  }

  private static EdgeSet edges(PatchableModel model, ActivationSite site, String row, int at) {
    return EdgeSet.of(
        model.graph(),
        model.graph().edges().stream()
            .filter(edge -> edge.position().orElse(at) == at && isPatched(site, row, edge))
            .toList());
  }

  private static double mean(double[] values) {
    return Arrays.stream(values).average().orElseThrow();
  }

  /** The maps, computed by patching all edges that leave what is patched. */
  private static void assertMapsAreThoseOfEdges(
      Model plain, List<PromptPairBatch> prompts, boolean eachPosition) {
    TransformerConfig config = (TransformerConfig) plain.config();
    PatchableModelOptions options = PatchableModelOptions.defaults();
    try (PatchableModel model = PatchableModel.of(plain, options);
        PatchableModel byEdges =
            PatchableModel.of(plain, eachPosition ? options.withSeqLen(SEQ) : options)) {
      for (PatchDirection direction : PatchDirection.values()) {
        Evaluation evaluation =
            Evaluation.of(LOGITS).withPatchType(PatchType.EDGE_PATCH).withDirection(direction);
        double[] run =
            evaluation.measure(byEdges, prompts, EdgeSet.none(byEdges.graph())).toArray();
        double[] other =
            evaluation.measure(byEdges, prompts, EdgeSet.all(byEdges.graph())).toArray();
        double way = mean(other) - mean(run);
        assertThat(Math.abs(way)).as("prompts that the model tells apart").isGreaterThan(0.01);
        for (ActivationSite site : ActivationSite.values()) {
          if (site == ActivationSite.MLP && !config.hasMlp()) {
            continue;
          }
          ActivationPatching patching =
              ActivationPatching.of(site).withDirection(direction).withBatchSize(7);
          PatchMap map =
              (eachPosition ? patching : patching.withAllPositionsTogether()).map(model, prompts);
          assertThat(map.columns()).isEqualTo(eachPosition ? SEQ : 1);
          assertThat(map.rows())
              .hasSize(config.nLayers() * (site == ActivationSite.HEADS ? config.nHeads() : 1));
          double spread =
              IntStream.range(0, run.length)
                  .mapToDouble(i -> Math.pow(other[i] - run[i] - way, 2))
                  .sum();
          assertThat(map.difference().standardError())
              .isEqualTo(Math.sqrt(spread / (run.length - 1) / run.length), within(1e-9));
          List<EdgeSet> cells = new ArrayList<>();
          for (String row : map.rows()) {
            for (int at = 0; at < map.columns(); at++) {
              cells.add(edges(byEdges, site, row, at));
            }
          }
          assertThat(cells).doesNotContain(EdgeSet.none(byEdges.graph()));
          List<PromptValues> expected = evaluation.measure(byEdges, prompts, cells);
          for (int cell = 0; cell < cells.size(); cell++) {
            int row = cell / map.columns();
            int column = cell % map.columns();
            double[] patched = expected.get(cell).toArray();
            double share = (mean(patched) - mean(run)) / way;
            String what =
                "%s %s, %s at %s".formatted(config, direction, map.rows().get(row), column);
            assertThat(map.share(row, column)).as(what).isEqualTo(share, within(1e-9));
            assertThat(map.metric(row, column)).as(what).isEqualTo(mean(patched), within(1e-9));
            double squares =
                IntStream.range(0, run.length)
                    .mapToDouble(i -> patched[i] - run[i] - share * (other[i] - run[i]))
                    .map(d -> d * d)
                    .sum();
            assertThat(map.standardError(row, column))
                .as(what)
                .isEqualTo(
                    Math.sqrt(squares / (run.length - 1) / run.length) / Math.abs(way),
                    within(1e-6));
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void everyCellIsWhatPatchingTheEdgesThatLeaveItGives(TransformerConfig config) {
    try (Model plain = ModelSamples.random(config)) {
      assertMapsAreThoseOfEdges(plain, prompts(config), true);
    }
  }

  /** Latents are sources as heads are; an MLP's output is the sum of them. */
  @Test
  void autoencodersToo() {
    for (boolean errorNodes : new boolean[] {false, true}) {
      try (Model plain =
          AutoencoderModels.model(RandomModels.SMALL, 3, Precision.FLOAT64, errorNodes, 5)) {
        assertMapsAreThoseOfEdges(plain, prompts(RandomModels.SMALL), true);
      }
    }
  }

  /** Prompts may differ in length then, and so be padded. */
  @ParameterizedTest
  @MethodSource("kinds")
  void allPositionsTogetherToo(TransformerConfig config) {
    List<PromptPairBatch> prompts =
        List.of(
            TestModels.together(
                List.of(
                    RandomModels.promptPairs(config, 2, 3, 70),
                    RandomModels.promptPairs(config, 2, 5, 80))),
            RandomModels.promptPairs(config, 1, 4, 90));
    try (Model plain = ModelSamples.random(config)) {
      assertMapsAreThoseOfEdges(plain, prompts, false);
    }
  }

  /**
   * Prompts {@code ^ a 3 b 5 c 2 a}: the head A0.0 notes at each value which letter was before it,
   * A1.0 looks at the last position for the value after the prompt's letter. The corrupt prompt has
   * other values in other places, or asks for another letter.
   */
  @Test
  void inductionByHand() {
    KnownModel known = KnownModel.of(KnownTask.INDUCTION, false);
    List<PromptPairBatch> prompts = known.batches(16);
    int seq = prompts.get(0).seqLength();
    try (Model plain = known.model();
        PatchableModel model = PatchableModel.of(plain, PatchableModelOptions.defaults())) {
      for (PatchDirection direction : PatchDirection.values()) {
        PatchMap heads =
            ActivationPatching.of(ActivationSite.HEADS)
                .withDirection(direction)
                .map(model, prompts);
        for (int at = 0; at < seq; at++) {
          double expected = at == seq - 1 ? 1 : 0;
          assertThat(heads.share("A1.0", at)).as("%s", at).isEqualTo(expected, within(1e-4));
          assertThat(heads.share("A0.1", at)).isEqualTo(0, within(1e-6));
          assertThat(heads.share("A1.1", at)).isEqualTo(0, within(1e-6));
        }
        // Before the second block all is in the stream, before the first one in the tokens.
        PatchMap stream =
            ActivationPatching.of(ActivationSite.RESIDUAL)
                .withDirection(direction)
                .withAllPositionsTogether()
                .map(model, prompts);
        assertThat(stream.rows()).containsExactly("block 0", "block 1");
        assertThat(stream.share(0, 0)).isEqualTo(1, within(1e-5));
        assertThat(stream.share(1, 0)).isEqualTo(1, within(1e-5));
        assertThat(stream.conditions())
            .startsWith("logit difference of 48 prompts; residual stream before each block, all")
            .endsWith(
                direction == PatchDirection.NOISING
                    ? "noising: clean prompts, corrupt activations put in"
                    : "denoising: corrupt prompts, clean activations put in");
        assertThat(stream.clean()).isGreaterThan(3);
        assertThat(stream.corrupt()).isLessThan(-3);
      }
    }
  }

  @Test
  void neitherBatchesNorGraphNorSliceNorPrefixChangeAnything() {
    TransformerConfig config = RandomModels.SMALL;
    List<PromptPairBatch> prompts = prompts(config);
    List<PromptPairBatch> joined = List.of(PromptPairBatch.join(prompts));
    PatchableModelOptions options = PatchableModelOptions.defaults();
    try (Model plain = RandomModels.model(config, Precision.FLOAT64, 3);
        PatchableModel model = PatchableModel.of(plain, options)) {
      for (ActivationSite site : ActivationSite.values()) {
        PatchMap expected = ActivationPatching.of(site).withBatchSize(1).map(model, prompts);
        assertSame(ActivationPatching.of(site).withBatchSize(1000).map(model, joined), expected);
        for (PatchableModelOptions other :
            List.of(
                options.withFactorized(false).withOutputSlice(OutputSlice.ALL),
                options.withSeqLen(SEQ + 1))) {
          try (PatchableModel same = model.withOptions(other)) {
            assertSame(ActivationPatching.of(site).map(same, prompts), expected);
          }
        }
      }
      // A prefix is before every prompt: whole prompts with the same beginning say the same.
      long[] prefix = {3, 1};
      PromptPairBatch longer = behind(prefix, joined.get(0));
      try (var cache = model.prefixOf(new long[][] {prefix});
          PatchableModel after = model.withPrefix(cache)) {
        for (ActivationSite site : ActivationSite.values()) {
          PatchMap whole = ActivationPatching.of(site).map(model, List.of(longer));
          PatchMap map = ActivationPatching.of(site).map(after, joined);
          for (int row = 0; row < map.rows().size(); row++) {
            assertThat(whole.share(row, 0)).isEqualTo(0);
            for (int at = 0; at < SEQ; at++) {
              assertThat(map.share(row, at)).isEqualTo(whole.share(row, at + 2), within(1e-9));
            }
          }
        }
      }
    }
  }

  private static PromptPairBatch behind(long[] prefix, PromptPairBatch batch) {
    return new PromptPairBatch(
        batch.pairs(),
        behind(prefix, batch.clean()),
        behind(prefix, batch.corrupt()),
        batch.answers(),
        batch.wrongAnswers());
  }

  private static long[][] behind(long[] prefix, long[][] prompts) {
    return Arrays.stream(prompts)
        .map(row -> Stream.of(prefix, row).flatMapToLong(Arrays::stream).toArray())
        .toArray(long[][]::new);
  }

  private static void assertSame(PatchMap map, PatchMap expected) {
    assertThat(map.rows()).isEqualTo(expected.rows());
    for (int row = 0; row < map.rows().size(); row++) {
      for (int at = 0; at < map.columns(); at++) {
        assertThat(map.share(row, at)).isEqualTo(expected.share(row, at), within(1e-9));
        assertThat(map.standardError(row, at))
            .isEqualTo(expected.standardError(row, at), within(1e-7));
      }
    }
  }

  @Test
  void itIsStoppedBetweenPassesWithWhatIsDone() {
    try (PatchableModel model = TestModels.patchable()) {
      List<PromptPairBatch> prompts =
          List.of(TestModels.batch(3, 5, 10), TestModels.batch(2, 5, 20));
      ActivationPatching patching = ActivationPatching.of(ActivationSite.MLP).withBatchSize(4);
      List<Long> reports = new ArrayList<>();
      patching.map(
          model,
          prompts,
          (done, total) -> {
            reports.add(done);
            assertThat(total).isEqualTo(2 + 2 * 5 + 2 + 2 * 3);
          });
      assertThat(reports)
          .containsExactlyElementsOf(IntStream.rangeClosed(1, 20).mapToObj(i -> (long) i).toList());
      PatchMap first = patching.map(model, prompts.subList(0, 1));
      for (int stop : new int[] {1, 7, 15}) {
        assertThatThrownBy(
                () ->
                    patching.map(
                        model,
                        prompts,
                        (done, total) -> {
                          if (done == stop) {
                            Thread.currentThread().interrupt();
                          }
                        }))
            .isInstanceOfSatisfying(
                StoppedException.class,
                e -> {
                  assertThat(Thread.interrupted()).isTrue();
                  assertThat(e.partial(PatchMap.class).isPresent()).isEqualTo(stop == 15);
                  e.partial(PatchMap.class).ifPresent(map -> assertSame(map, first));
                });
      }
    }
  }

  @Test
  void whatSaysNothingIsRefused() {
    ActivationPatching patching = ActivationPatching.of(ActivationSite.MLP);
    PromptPairBatch batch = TestModels.batch(1, 5, 10);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> patching.withBatchSize(0))
        .withMessageContaining("expected 1 or more, got 0");
    try (PatchableModel model = TestModels.patchable()) {
      assertThat(patching.map(model, List.of(batch)).standardError(0, 0)).isNaN();
      assertThatIllegalArgumentException()
          .isThrownBy(() -> patching.map(model, List.of()))
          .withMessageContaining("at least one");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> patching.map(model, List.of(batch, TestModels.batch(1, 6, 10))))
          .withMessageContaining("some of 5 and some of 6 tokens");
      long[][] same = TestModels.tokens(2, 5, 1);
      assertThatIllegalArgumentException()
          .isThrownBy(() -> patching.map(model, List.of(TestModels.batch(same, same, 1))))
          .withMessageContaining("nothing to recover");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> patching.map(model, List.of(batch)).share("MLP 2", 0))
          .withMessageContaining("'MLP 0' to 'MLP 1', got 'MLP 2'");
    }
    TransformerConfig attentionOnly =
        RandomModels.SMALL.toBuilder().blockKind(BlockKind.ATTENTION_ONLY).build();
    try (Model plain = ModelSamples.random(attentionOnly);
        PatchableModel model = PatchableModel.of(plain, PatchableModelOptions.defaults());
        PatchableModel micro = TestModels.micro(PatchableModelOptions.defaults())) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> patching.map(model, List.of(batch)))
          .withMessageContaining("no MLPs");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> patching.map(micro, List.of(batch)))
          .withMessageContaining("expected a transformer");
    }
  }

  @Test
  void logitsThatAreNotFiniteEndIt() {
    try (PatchableModel model = TestModels.patchable()) {
      Map<String, Tensor> weights = model.weights();
      weights.get("ln_final.b").fill_(new Scalar(Double.NaN));
      assertThatThrownBy(
              () ->
                  ActivationPatching.of(ActivationSite.HEADS)
                      .map(model, List.of(TestModels.batch(1, 5, 10))))
          .isInstanceOf(NotFiniteException.class);
    }
  }
}
