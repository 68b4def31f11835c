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
import java.util.Set;
import java.util.TreeMap;
import java.util.function.BiConsumer;
import java.util.stream.Stream;
import org.autocircuit.Threads;
import org.autocircuit.graph.ModelGraph;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicContainer;
import org.junit.jupiter.api.DynamicNode;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.opentest4j.TestAbortedException;

/**
 * Every operation of every case of a folder of reference data: {@code src/test/resources/golden},
 * or the folder that {@code -Dautocircuit.golden} names. What is not run is listed at the end, with
 * the reason.
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
          Map.entry("run_circuits", GoldenCircuitOps::runCircuits),
          Map.entry("measures", GoldenCircuitOps::measures),
          Map.entry("roc", GoldenEvaluationOps::roc),
          Map.entry("prune_score_similarities", GoldenEvaluationOps::similarities),
          Map.entry("same_under_knockout", GoldenEvaluationOps::sameUnderKnockout));

  /** Operations that a test of another class compares. */
  private static final Map<String, String> ELSEWHERE =
      Map.of("edge_counts", "PruneScoresGoldenTest", "ground_truth", "PruneScoresGoldenTest");

  /** Operations of the reference that this library does not have; any other is a failure. */
  private static final Set<String> NOT_OFFERED = Set.of("circuit_probing");

  /** The number of comparisons of each operation in the project's own folder. */
  private static final Map<String, Integer> BUNDLED =
      Map.ofEntries(
          Map.entry("acdc", 32),
          Map.entry("activation_magnitude", 25),
          Map.entry("answer_ops", 6),
          Map.entry("batched_masks", 72),
          Map.entry("edge_attribution_patching", 14),
          Map.entry("forward", 75),
          Map.entry("mask_grad", 96),
          Map.entry("mask_gradient", 264),
          Map.entry("measurements_auc", 3),
          Map.entry("measures", 88),
          Map.entry("multibatch_kl_div", 2),
          Map.entry("patch_edges", 24),
          Map.entry("patch_edges_by_name", 48),
          Map.entry("patch_mask", 72),
          Map.entry("patch_mask_all_ones", 24),
          Map.entry("patch_mask_attention_mask", 18),
          Map.entry("patch_start_at_layer", 19),
          Map.entry("prune_score_similarities", 24),
          Map.entry("refused", 1),
          Map.entry("roc", 48),
          Map.entry("run_circuits", 180),
          Map.entry("same_under_knockout", 23),
          Map.entry("sample_hard_concrete", 4),
          Map.entry("src_ablations", 200),
          Map.entry("subnetwork_probing", 54));

  /** Case, then reason, then operations. */
  private static final Map<String, Map<String, List<String>>> SKIPPED = new TreeMap<>();

  /** Operation to how many of it were compared with the reference's results. */
  private static final Map<String, Integer> RAN = new TreeMap<>();

  /** On these the reference fails, and two models of this library are compared. */
  private static int ranGrouped;

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
      return Stream.of(skipped("tensor_ops", "not in this folder", List.of()));
    }
    GoldenCase golden = GoldenCase.load("tensor_ops");
    return operations(
        golden,
        op ->
            Optional.ofNullable(GoldenTensorOps.OPERATIONS.get(op.name()))
                .map(operation -> () -> operation.accept(op)),
        GoldenTensorOps.ELSEWHERE);
  }

  @AfterAll
  static void reportSkipped() {
    Threads.set(threadsBefore);
    System.out.printf(
        "Golden data in %s: %d operations compared with the reference's results; %d on which it"
            + " fails compared between grouped and ungrouped graphs.%n",
        GoldenCase.root(), RAN.values().stream().mapToInt(n -> n).sum(), ranGrouped);
    SKIPPED.forEach(
        (name, reasons) ->
            reasons.forEach(
                (reason, ops) ->
                    System.out.printf("  skipped %s: %s%s%n", name, reason, byName(ops))));
    if (GoldenCase.isBundled()) {
      assertThat(RAN).as("operations compared").isEqualTo(BUNDLED);
      // Another processor's rounding may tip a few decisions; here it was none of 64.
      assertThat(GoldenPruneOps.acdcScores).as("ACDC's scores compared").isGreaterThan(50);
      assertThat(ranGrouped).as("operations compared between graphs").isEqualTo(28);
    }
  }

  /** Operations and their numbers, as in {@code ": acdc 31 32, roc 43"}. */
  private static String byName(List<String> ops) {
    Map<String, StringBuilder> numbers = new LinkedHashMap<>();
    for (String op : ops) {
      String[] words = op.split(" ", 2);
      numbers
          .computeIfAbsent(words[1], name -> new StringBuilder(name))
          .append(' ')
          .append(words[0].substring("op".length()));
    }
    return ops.isEmpty() ? "" : ": " + String.join(", ", numbers.values());
  }

  private static DynamicNode caseTests(GoldenCase golden) {
    if (golden.json().has("patchable_model_raises")) {
      return DynamicTest.dynamicTest(
          golden.name() + ": refused, as by the reference",
          () -> {
            assertThatThrownBy(golden::graph)
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("parallel");
            RAN.merge("refused", 1, Integer::sum);
          });
    }
    Optional<String> unsupported = golden.unsupported();
    if (unsupported.isPresent()) {
      List<String> ops = golden.ops().stream().map(GoldenTest::shortName).toList();
      return skipped(golden.name(), unsupported.get(), ops);
    }
    return DynamicContainer.dynamicContainer(
        golden.name(),
        Stream.concat(
            Stream.of(DynamicTest.dynamicTest("model", () -> assertModel(golden))),
            operations(
                golden,
                op ->
                    Optional.ofNullable(operation(op))
                        .map(operation -> () -> runOnModel(golden, op, operation)),
                ELSEWHERE)));
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

  private static Stream<DynamicNode> operations(
      GoldenCase golden, Operations operations, Map<String, String> elsewhere) {
    List<DynamicNode> tests = new ArrayList<>();
    Map<String, List<String>> unsupported = new LinkedHashMap<>();
    for (GoldenOp op : golden.ops()) {
      Optional<Operation> operation = operations.find(op);
      if (operation.isPresent()) {
        tests.add(
            DynamicTest.dynamicTest(
                shortName(op) + " " + op.json().path("params"),
                () -> run(golden, op, operation.get())));
      } else {
        if (!elsewhere.containsKey(op.name()) && !NOT_OFFERED.contains(op.name())) {
          tests.add(DynamicTest.dynamicTest(shortName(op), () -> fail("unknown operation " + op)));
          continue;
        }
        String reason =
            elsewhere.containsKey(op.name())
                ? "compared by " + elsewhere.get(op.name())
                : "operation not offered";
        unsupported.computeIfAbsent(reason, key -> new ArrayList<>()).add(shortName(op));
      }
    }
    unsupported.forEach((reason, ops) -> tests.add(skipped(golden.name(), reason, ops)));
    return tests.stream();
  }

  private static void runOnModel(
      GoldenCase golden, GoldenOp op, BiConsumer<GoldenModel, GoldenOp> operation) {
    try (GoldenModel model = new GoldenModel(golden)) {
      operation.accept(model, op);
    }
  }

  private static void run(GoldenCase golden, GoldenOp op, Operation operation) {
    try {
      operation.run();
      if (GoldenGroupedQueryOps.compares(op)) {
        ranGrouped++;
      } else {
        RAN.merge(op.name(), 1, Integer::sum);
      }
    } catch (TestAbortedException e) {
      note(golden.name(), e.getMessage(), List.of(shortName(op)));
      throw e;
    }
  }

  private static DynamicTest skipped(String name, String reason, List<String> ops) {
    return DynamicTest.dynamicTest(
        name + ": " + reason,
        () -> {
          note(name, reason, ops);
          Assumptions.abort(reason);
        });
  }

  private static void note(String name, String reason, List<String> ops) {
    SKIPPED
        .computeIfAbsent(name, key -> new LinkedHashMap<>())
        .computeIfAbsent(reason, key -> new ArrayList<>())
        .addAll(ops);
  }

  private static String shortName(GoldenOp op) {
    return "op" + op.id() + " " + op.name();
  }
}
