package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.fail;

import java.nio.file.Files;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.BiConsumer;
import java.util.stream.Stream;
import org.autocircuit.Threads;
import org.autocircuit.graph.ModelGraph;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicContainer;
import org.junit.jupiter.api.DynamicNode;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Every operation of every case of a folder of reference data: {@code src/test/resources/golden},
 * or the folder that {@code -Dautocircuit.golden} names. The last line says how many were compared;
 * those whose results differ by design are listed before it, with the reason. An operation that is
 * not known fails.
 */
class GoldenTest {

  private static final Map<String, BiConsumer<GoldenModel, GoldenOp>> OPERATIONS =
      Map.ofEntries(
          Map.entry("forward", GoldenForwardOps::forward),
          Map.entry("src_ablations", GoldenForwardOps::srcAblations),
          Map.entry("patch_edges", GoldenForwardOps::patchEdges),
          Map.entry("patch_edges_by_name", GoldenForwardOps::patchEdgesByName),
          Map.entry("patch_mask", GoldenForwardOps::patchMask),
          Map.entry("patch_mask_all_ones", GoldenForwardOps::patchMaskAllOnes),
          Map.entry("patch_mask_attention_mask", GoldenForwardOps::patchMaskAttentionMask),
          Map.entry("patch_start_at_layer", GoldenForwardOps::patchStartAtLayer),
          Map.entry("mask_grad", GoldenGradientOps::maskGrad),
          Map.entry("mask_gradient", GoldenGradientOps::maskGradient),
          Map.entry("edge_attribution_patching", GoldenGradientOps::edgeAttributionPatching),
          Map.entry("batched_masks", GoldenGradientOps::batchedMasks),
          Map.entry("activation_magnitude", GoldenPruneOps::activationMagnitude),
          Map.entry("acdc", GoldenPruneOps::acdc),
          Map.entry("subnetwork_probing", GoldenPruneOps::subnetworkProbing),
          Map.entry("circuit_probing", GoldenPruneOps::circuitProbing),
          Map.entry("run_circuits", GoldenCircuitOps::runCircuits),
          Map.entry("measures", GoldenCircuitOps::measures),
          Map.entry("roc", GoldenEvaluationOps::roc),
          Map.entry("prune_score_similarities", GoldenEvaluationOps::similarities),
          Map.entry("same_under_knockout", GoldenEvaluationOps::sameUnderKnockout),
          Map.entry("ground_truth", GoldenEvaluationOps::groundTruth),
          Map.entry("edge_counts", GoldenEvaluationOps::edgeCounts));

  /** The numbers of the last line in the project's own folder. */
  private static final int BUNDLED_COMPARED = 1453;

  private static final int BUNDLED_BY_DESIGN = 91;

  /** The number of comparisons of each operation there. */
  private static final Map<String, Integer> BUNDLED =
      Map.ofEntries(
          Map.entry("acdc", 32),
          Map.entry("activation_magnitude", 20),
          Map.entry("answer_ops", 6),
          Map.entry("batched_masks", 48),
          Map.entry("circuit_probing", 9),
          Map.entry("edge_attribution_patching", 10),
          Map.entry("edge_counts", 48),
          Map.entry("forward", 75),
          Map.entry("ground_truth", 24),
          Map.entry("mask_grad", 96),
          Map.entry("mask_gradient", 264),
          Map.entry("measurements_auc", 3),
          Map.entry("measures", 88),
          Map.entry("multibatch_kl_div", 2),
          Map.entry("patch_edges", 24),
          Map.entry("patch_edges_by_name", 24),
          Map.entry("patch_mask", 72),
          Map.entry("patch_mask_all_ones", 24),
          Map.entry("patch_mask_attention_mask", 18),
          Map.entry("patch_start_at_layer", 19),
          Map.entry("prune_score_similarities", 24),
          Map.entry("prune_scores_threshold", 1),
          Map.entry("refused", 1),
          Map.entry("roc", 48),
          Map.entry("run_circuits", 175),
          Map.entry("same_under_knockout", 22),
          Map.entry("sample_hard_concrete", 4),
          Map.entry("src_ablations", 200),
          Map.entry("subnetwork_probing", 72));

  /** Operation to how many of it were compared with the reference's results. */
  private static final Map<String, Integer> COMPARED = new TreeMap<>();

  /** Reason, then case, then operations whose results differ from the reference's by design. */
  private static final Map<String, Map<String, List<GoldenOp>>> BY_DESIGN = new TreeMap<>();

  /** Operations that are not known. */
  private static final List<GoldenOp> UNSUPPORTED = new ArrayList<>();

  private static int threadsBefore;

  /** These matrices are so small that sharing them out costs more than it saves. */
  @BeforeAll
  static void oneThread() {
    threadsBefore = Threads.get();
    Threads.set(1);
  }

  @TestFactory
  Stream<DynamicNode> everyOperationOfEveryCase() {
    List<GoldenCase> cases = GoldenCase.all();
    assertThat(cases).as("cases in " + GoldenCase.root()).isNotEmpty();
    return cases.stream().map(GoldenTest::caseTests);
  }

  @TestFactory
  Stream<DynamicNode> tensorOperations() {
    if (!Files.exists(GoldenCase.root().resolve("tensor_ops"))) {
      return Stream.of();
    }
    return operations(
        GoldenCase.load("tensor_ops"),
        op ->
            Optional.ofNullable(GoldenTensorOps.OPERATIONS.get(op.name()))
                .map(operation -> () -> operation.accept(op)));
  }

  @AfterAll
  static void report() {
    Threads.set(threadsBefore);
    System.out.println("Golden data in " + GoldenCase.root() + ", unequal by design:");
    BY_DESIGN.forEach(
        (reason, cases) -> {
          System.out.println("  " + reason);
          cases.forEach((name, ops) -> System.out.println("    " + name + byName(ops)));
        });
    int compared = COMPARED.values().stream().mapToInt(n -> n).sum();
    long byDesign =
        BY_DESIGN.values().stream().flatMap(m -> m.values().stream()).mapToLong(List::size).sum();
    System.out.printf(
        "%s compared, %s unsupported, %s unequal by design (listed)%n",
        compared, UNSUPPORTED.size(), byDesign);
    assertThat(UNSUPPORTED).as("operations that are not known").isEmpty();
    if (GoldenCase.isBundled()) {
      assertThat(COMPARED).as("operations compared").isEqualTo(BUNDLED);
      assertThat(compared).as("operations compared").isEqualTo(BUNDLED_COMPARED);
      assertThat(byDesign).as("unequal by design").isEqualTo(BUNDLED_BY_DESIGN);
      // Another processor's rounding may tip a few decisions; here it was none of 64.
      assertThat(GoldenPruneOps.acdcScores).as("ACDC's scores compared").isGreaterThan(50);
    }
  }

  /** Operations and their numbers, as in {@code ": acdc 31 32, roc 43"}. */
  private static String byName(List<GoldenOp> ops) {
    Map<String, StringBuilder> numbers = new LinkedHashMap<>();
    for (GoldenOp op : ops) {
      numbers
          .computeIfAbsent(op.name(), name -> new StringBuilder(name))
          .append(' ')
          .append(op.id());
    }
    return ": " + String.join(", ", numbers.values());
  }

  private static DynamicNode caseTests(GoldenCase golden) {
    if (golden.json().has("patchable_model_raises")) {
      return DynamicTest.dynamicTest(
          golden.name() + ": refused, as by the reference",
          () -> {
            assertThatThrownBy(golden::graph)
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("parallel");
            COMPARED.merge("refused", 1, Integer::sum);
          });
    }
    return DynamicContainer.dynamicContainer(
        golden.name(),
        Stream.concat(
            Stream.of(DynamicTest.dynamicTest("model", () -> assertModel(golden))),
            operations(
                golden,
                op ->
                    Optional.ofNullable(operation(op))
                        .map(operation -> () -> runOnModel(golden, op, operation)))));
  }

  private static BiConsumer<GoldenModel, GoldenOp> operation(GoldenOp op) {
    return GoldenGroupedQueryOps.compares(op)
        ? GoldenGroupedQueryOps::compare
        : OPERATIONS.get(op.name());
  }

  /** The sizes of the graph, which ModelGraphGoldenTest compares in full, and the prefix. */
  private static void assertModel(GoldenCase golden) {
    try (GoldenModel model = new GoldenModel(golden)) {
      ModelGraph graph = model.graph();
      assertThat(graph).isEqualTo(golden.graph());
      assertThat(golden.referenceGraph().nEdges())
          .isEqualTo(golden.json().at("/graph/n_edges").asInt());
      assertThat(graph.srcs()).hasSameSizeAs(golden.json().at("/graph/srcs"));
      assertThat(model.prefix().isPresent()).isEqualTo(golden.hasTensor("data/prefix_tokens"));
      model.prefix().ifPresent(given -> GoldenForwardOps.prefix(model, given));
    }
  }

  private interface Operation {
    void run();
  }

  private interface Operations {
    Optional<Operation> find(GoldenOp op);
  }

  private static Stream<DynamicNode> operations(GoldenCase golden, Operations operations) {
    return golden.ops().stream()
        .map(
            op -> {
              Optional<Operation> operation = operations.find(op);
              return DynamicTest.dynamicTest(
                  "op" + op.id() + " " + op.name() + " " + op.json().path("params"),
                  () -> run(op, operation));
            });
  }

  private static void runOnModel(
      GoldenCase golden, GoldenOp op, BiConsumer<GoldenModel, GoldenOp> operation) {
    try (GoldenModel model = new GoldenModel(golden)) {
      operation.accept(model, op);
    }
  }

  private static void run(GoldenOp op, Optional<Operation> operation) {
    if (operation.isEmpty()) {
      UNSUPPORTED.add(op);
      fail("unknown operation " + op);
    }
    operation.get().run();
    Optional<String> differs = GoldenDifferences.reason(op);
    if (differs.isPresent()) {
      BY_DESIGN
          .computeIfAbsent(differs.get(), reason -> new TreeMap<>())
          .computeIfAbsent(op.goldenCase().name(), name -> new ArrayList<>())
          .add(op);
    } else {
      COMPARED.merge(op.name(), 1, Integer::sum);
    }
  }
}
