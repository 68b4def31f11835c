package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.function.BiFunction;
import java.util.function.Consumer;
import org.autocircuit.TestDevice;
import org.autocircuit.eval.CircuitOutputs;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.eval.Logits;
import org.autocircuit.eval.SameUnderKnockouts;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.mode.MaskBatchSize;
import org.autocircuit.mode.MaskFnMode;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.mode.TrainMaskMode;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.PruneScores;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Operations on which the reference fails because its grouped-query model has fewer keys and values
 * than its graph has destinations for them. Each is done with the inputs that the reference was
 * given, and compared with the same one in the ungrouped graph, whose results another case compares
 * with the reference's.
 */
@SuppressWarnings("MustBeClosedChecker") // modes are refused on purpose, or closed by the caller
final class GoldenGroupedQueryOps {

  private static final Map<String, Consumer<GroupedPair>> OPERATIONS =
      Map.ofEntries(
          Map.entry("patch_edges", GoldenGroupedQueryOps::patchEdges),
          Map.entry("patch_edges_by_name", GoldenGroupedQueryOps::patchEdgesByName),
          Map.entry("patch_mask", GoldenGroupedQueryOps::patchMask),
          Map.entry("patch_mask_all_ones", GoldenGroupedQueryOps::patchMaskAllOnes),
          Map.entry("patch_mask_attention_mask", GoldenGroupedQueryOps::patchMaskAttentionMask),
          Map.entry("patch_start_at_layer", GoldenGroupedQueryOps::patchStartAtLayer),
          Map.entry("mask_grad", GoldenGroupedQueryOps::maskGrad),
          Map.entry("mask_gradient", GoldenGroupedQueryOps::maskGradient),
          Map.entry("batched_masks", GoldenGroupedQueryOps::batchedMasks),
          Map.entry("run_circuits", GoldenGroupedQueryOps::runCircuits),
          Map.entry("same_under_knockout", GoldenGroupedQueryOps::sameUnderKnockout));

  private GoldenGroupedQueryOps() {}

  /** Returns whether an operation of the reference fails for that reason, and is compared here. */
  static boolean compares(GoldenOp op) {
    return OPERATIONS.containsKey(op.name())
        && op.raises() != null
        && op.goldenCase().referenceFailsToPatch();
  }

  static void compare(GoldenModel grouped, GoldenOp op) {
    try (GroupedPair pair = GroupedPair.of(grouped, op)) {
      OPERATIONS.get(op.name()).accept(pair);
    }
  }

  private static void patchEdges(GroupedPair pair) {
    BitSet given = new BitSet();
    int[] indices = pair.indices();
    pair.ungrouped()
        .edges(pair.op().param("edges"))
        .forEach(edge -> given.set(indices[pair.ungrouped().graph().index(edge)]));
    EdgeSet edges = EdgeSet.ofIndices(pair.graph(), given);
    assertThat(edges.size()).as(pair.op().toString()).isGreaterThan(5);
    assertEdges(pair, edges, activations -> pair.grouped().model().patchMode(activations, edges));
  }

  /** Names of the grouped graph are those of its key/value heads. */
  private static void patchEdgesByName(GroupedPair pair) {
    Set<String> names = new HashSet<>();
    pair.graph().edges().forEach(edge -> names.add(edge.name()));
    List<String> known = new ArrayList<>();
    List<String> all = new ArrayList<>();
    for (JsonNode name : pair.op().param("edge_names")) {
      all.add(name.asText());
      if (names.contains(name.asText())) {
        known.add(name.asText());
      }
    }
    if (known.size() < all.size()) {
      try (SourceActivations activations = pair.grouped().activations(pair.op())) {
        assertThatIllegalArgumentException()
            .isThrownBy(() -> pair.grouped().model().patchModeByName(activations, all));
      }
    }
    assertEdges(
        pair,
        EdgeSet.ofNames(pair.graph(), known),
        activations -> pair.grouped().model().patchModeByName(activations, known));
  }

  private interface Patching {
    PatchMode open(SourceActivations activations);
  }

  private static void assertEdges(GroupedPair pair, EdgeSet edges, Patching patching) {
    GoldenModel g = pair.grouped();
    Tensor input = g.input(pair.op().param("input").asText());
    double[] actual;
    try (SourceActivations activations = g.activations(pair.op());
        PatchMode mode = patching.open(activations)) {
      actual = TensorArrays.doubles(g.model().forward(full(input)).logits());
    }
    Masks masks = Masks.ofEdges(pair.ungrouped(edges));
    pair.assertClose("logits", actual, patched(pair.ungrouped(), pair.op(), masks, MaskFn.NONE));
  }

  private static ForwardRequest full(Tensor input) {
    return ForwardRequest.of(input).withOutputSlice(OutputSlice.ALL);
  }

  private static double[] patched(GoldenModel g, GoldenOp op, Masks masks, MaskFn maskFn) {
    try (SourceActivations activations = g.activations(op)) {
      ForwardRequest request =
          full(g.input(op.param("input").asText()))
              .withContext(PatchContext.builder(activations, masks).maskFn(maskFn).build());
      return TensorArrays.doubles(g.model().forward(request).logits());
    }
  }

  private static double[] given(GroupedPair pair) {
    return pair.firstOfGroup(pair.ungrouped().flat(pair.op().inputByModule("masks")));
  }

  /** A result in the grouped graph, and in the ungrouped one with masks for each query head. */
  private static void assertSame(
      GroupedPair pair,
      String what,
      double[] masks,
      BiFunction<GoldenModel, double[], double[]> run) {
    double[] repeated = pair.repeated(masks);
    pair.assertClose(what, run.apply(pair.grouped(), masks), run.apply(pair.ungrouped(), repeated));
  }

  private static void patchMask(GroupedPair pair) {
    MaskFn maskFn = GoldenForwardOps.maskFn(pair.op());
    assertSame(
        pair,
        "logits",
        given(pair),
        (g, masks) -> patched(g, pair.op(), Masks.of(g.graph(), masks), maskFn));
  }

  private static void patchMaskAllOnes(GroupedPair pair) {
    GoldenModel g = pair.grouped();
    double[] actual = patched(g, pair.op(), Masks.uniform(g.graph(), 1), MaskFn.NONE);
    Masks ones = Masks.uniform(pair.ungrouped().graph(), 1);
    pair.assertClose("logits", actual, patched(pair.ungrouped(), pair.op(), ones, MaskFn.NONE));
    Tensor corrupt = g.model().forward(full(g.input("corrupt", 0))).logits();
    pair.assertClose("corrupt logits", actual, TensorArrays.doubles(corrupt));
  }

  private static void patchMaskAttentionMask(GroupedPair pair) {
    GoldenOp op = pair.op();
    assertSame(
        pair,
        "logits",
        given(pair),
        (g, masks) -> {
          try (SourceActivations activations = g.activations(op)) {
            ForwardRequest request =
                full(g.input(op.param("input").asText()))
                    .withAttentionMask(g.tensor(op.input("attention_mask")))
                    .withContext(PatchContext.of(activations, Masks.of(g.graph(), masks)));
            return TensorArrays.doubles(g.model().forward(request).logits());
          }
        });
  }

  /**
   * From the residual stream of a plain pass, and with the outputs that the reference was given.
   */
  private static void patchStartAtLayer(GroupedPair pair) {
    GoldenOp op = pair.op();
    int layer = op.param("start_at_layer").asInt();
    String hook = "blocks." + layer + ".hook_resid_pre";
    ForwardRequest plain = full(pair.grouped().input("clean", 0)).withReads(hook);
    Tensor resid = pair.grouped().model().forward(plain).read(hook);
    for (boolean outputs : new boolean[] {false, true}) {
      assertSame(
          pair,
          outputs ? "source outputs" : "logits",
          given(pair),
          (g, masks) -> {
            try (SourceActivations activations = g.activations(op)) {
              ForwardRequest request =
                  ForwardRequest.startingAt(layer, resid)
                      .withStartSourceOutputs(g.tensor(op.input("curr_src_outs")))
                      .withContext(PatchContext.of(activations, Masks.of(g.graph(), masks)))
                      .withOutputSlice(OutputSlice.ALL)
                      .withSourceOutputs();
              ForwardResult result = g.model().forward(request);
              return TensorArrays.doubles(
                  outputs ? result.sourceOutputs().orElseThrow() : result.logits());
            }
          });
    }
  }

  /** Draws for each example of a batch, the same for the query heads of a group. */
  private static double[][] draws(GroupedPair pair) {
    double[][] rows = new double[pair.grouped().golden().batch()][];
    Random random = new Random(pair.op().id());
    Arrays.setAll(rows, i -> random.doubles(pair.graph().maskSize()).toArray());
    return rows;
  }

  private static Noise noise(GoldenModel g, double[][] rows) {
    double[] all = Arrays.stream(rows).flatMapToDouble(Arrays::stream).toArray();
    ScalarType type = g.golden().isDouble() ? ScalarType.Double : ScalarType.Float;
    return Noise.uniforms(
        TensorArrays.of(all, type, TestDevice.NAME, rows.length, g.graph().maskSize()));
  }

  /** Logits and gradients with autograd through the scopes; rows: one for all, or for each. */
  @SuppressWarnings("ArrayRecordComponent") // nobody compares them
  private record Trained(double[] logits, double[] gradient) {

    static Trained of(GoldenModel g, GoldenOp op, double[][] masks, Noise draws) {
      MaskFn maskFn = GoldenForwardOps.maskFn(op);
      Noise noise = maskFn == MaskFn.HARD_CONCRETE ? draws : Noise.DEFAULT;
      Tensor input = g.input(op.param("input").asText());
      try (SourceActivations activations = g.activations(op);
          MaskParameters parameters = g.model().newMaskParameters();
          MaskBatchSize size =
              masks.length == 1 ? null : g.model().setMaskBatchSize(parameters, masks.length);
          PatchMode patching = g.model().patchMode(activations, parameters);
          MaskFnMode function = g.model().maskFnMode(maskFn, 0, noise);
          TrainMaskMode training = g.model().trainMaskMode(parameters)) {
        parameters.set(
            size == null ? Masks.of(g.graph(), masks[0]) : Masks.perExample(g.graph(), masks));
        Tensor logits = g.model().forward(full(input)).logits();
        Tensor loss =
            op.param("loss").isMissingNode()
                ? logits.square().sum()
                : GoldenGradientOps.loss(g, op, logits);
        loss.backward();
        return new Trained(TensorArrays.doubles(logits), parameters.gradientArray());
      }
    }
  }

  private static void assertTrained(GroupedPair pair, double[][] masks) {
    double[][] draws = draws(pair);
    double[][] repeatedMasks = Arrays.stream(masks).map(pair::repeated).toArray(double[][]::new);
    double[][] repeatedDraws = Arrays.stream(draws).map(pair::repeated).toArray(double[][]::new);
    GoldenModel g = pair.grouped();
    GoldenModel u = pair.ungrouped();
    Trained actual = Trained.of(g, pair.op(), masks, noise(g, draws));
    Trained expected = Trained.of(u, pair.op(), repeatedMasks, noise(u, repeatedDraws));
    pair.assertClose("logits", actual.logits(), expected.logits());
    pair.assertClose("gradients", actual.gradient(), pair.summed(expected.gradient()));
  }

  private static void maskGrad(GroupedPair pair) {
    boolean zeros = pair.op().param("masks").asText().equals("zeros");
    double[] masks = zeros ? new double[pair.graph().maskSize()] : given(pair);
    assertTrained(pair, new double[][] {masks});
  }

  /** The masks of the operation itself, or of the first of its kind that has some. */
  private static void batchedMasks(GroupedPair pair) {
    GoldenOp given =
        pair.op().hasInput("masks")
            ? pair.op()
            : pair.op().goldenCase().ops("batched_masks").stream()
                .filter(other -> other.hasInput("masks"))
                .findFirst()
                .orElseThrow();
    int batch = pair.grouped().golden().batch();
    double[][] masks =
        Arrays.stream(pair.ungrouped().flat(given.inputByModule("masks"), batch))
            .map(pair::firstOfGroup)
            .toArray(double[][]::new);
    assertThat(masks[0]).as(pair.op().toString()).isNotEqualTo(masks[1]);
    assertTrained(pair, masks);
  }

  /** Scores of whole data sets, of all kinds of losses and mask values. */
  private static void maskGradient(GroupedPair pair) {
    double[] actual = GoldenGradientOps.pruneScores(pair.grouped(), pair.op());
    double[] expected = GoldenGradientOps.pruneScores(pair.ungrouped(), pair.op());
    assertThat(actual).as(pair.op().toString()).doesNotContain(Double.NaN).isNotEmpty();
    pair.assertClose("scores", actual, pair.summed(expected));
  }

  /** Circuits of the same scores, whose sizes count an edge once for each query head. */
  private static void runCircuits(GroupedPair pair) {
    double[] scores =
        pair.firstOfGroup(GoldenCircuitOps.scores(pair.ungrouped(), pair.op()).toArray());
    GoldenModel g = pair.grouped();
    CircuitRuns runs =
        GoldenCircuitOps.runs(
            pair.op(),
            PruneScores.of(g.graph(), scores),
            GoldenCircuitOps.sizes(pair.op(), pair.graph().nEdges()));
    Map<Integer, Integer> sizes = new LinkedHashMap<>();
    runs.circuits().forEach((size, edges) -> sizes.put(size, pair.ungrouped(edges).size()));
    assertThat(sizes).as(pair.op().toString()).isNotEmpty();
    CircuitRuns repeated =
        GoldenCircuitOps.runs(
            pair.op(),
            PruneScores.of(pair.ungrouped().graph(), pair.repeated(scores)),
            List.copyOf(sizes.values()));
    CircuitOutputs actual = runs.run(g.model(), g.promptPairs());
    CircuitOutputs expected = repeated.run(pair.ungrouped().model(), g.promptPairs());
    sizes.forEach(
        (size, ungrouped) ->
            pair.assertClose(size + " edges", flat(actual.of(size)), flat(expected.of(ungrouped))));
  }

  private static void sameUnderKnockout(GroupedPair pair) {
    GoldenModel ungrouped = pair.ungrouped();
    ModelGraph graph = pair.graph();
    PruneScores given =
        GoldenEvaluationOps.scores(ungrouped.graph(), pair.op(), "circuit_prune_scores");
    EdgeSet circuit =
        PruneScores.of(graph, pair.firstOfGroup(given.toArray()))
            .circuit(pair.op().param("circuit_size").asInt());
    EdgeSet knockouts = EdgeSet.of(graph, circuit.indices().filter(i -> i % 3 == 0).toArray());
    SameUnderKnockouts actual = GoldenEvaluationOps.measure(pair.grouped(), circuit, knockouts);
    SameUnderKnockouts expected =
        GoldenEvaluationOps.measure(ungrouped, pair.ungrouped(circuit), pair.ungrouped(knockouts));
    assertThat(actual.knockouts()).as(pair.op().toString()).isPositive();
    pair.assertClose(
        "divergences",
        new double[] {actual.divergence(), actual.divergenceUnderKnockouts()},
        new double[] {expected.divergence(), expected.divergenceUnderKnockouts()});
  }

  private static double[] flat(List<Logits> logits) {
    return logits.stream().flatMapToDouble(batch -> Arrays.stream(batch.toArray())).toArray();
  }
}
