package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.autocircuit.golden.GoldenComparison.assertScalar;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.autocircuit.TestDevice;
import org.autocircuit.eval.AnswerMetrics;
import org.autocircuit.eval.AnswerPercent;
import org.autocircuit.eval.AnswerScale;
import org.autocircuit.eval.CircuitOutputs;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.eval.KlDivergence;
import org.autocircuit.eval.Logits;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.PruneScores;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The reference's operations that run circuits of scored edges and measure their outputs. */
final class GoldenCircuitOps {

  private static final Map<String, AnswerScale> SCALES =
      Map.of(
          "logits", AnswerScale.LOGIT,
          "softmax", AnswerScale.PROBABILITY,
          "log_softmax", AnswerScale.LOG_PROBABILITY);

  private GoldenCircuitOps() {}

  static void runCircuits(GoldenModel g, GoldenOp op) {
    Map<Integer, List<Logits>> outputs = run(g, op);
    if (op.raises() != null) {
      // The reference's masks are of single precision, whatever the model is.
      int all = g.graph().nEdges();
      assertThat(outputs).as(op.toString()).isNotEmpty();
      if (outputs.containsKey(all)) {
        boolean clean = runs(g, op).runsOnClean() == isTree(op);
        assertThat(KlDivergence.mean(outputs.get(all), plain(g, clean ? "clean" : "corrupt")))
            .as("%s: all edges", op)
            .isLessThan(1e-9);
      }
      return;
    }
    List<Integer> counts = new ArrayList<>();
    op.scalar("actual_counts_in_order").forEach(count -> counts.add(count.asInt()));
    assertThat(outputs.keySet()).as(op.toString()).containsExactlyElementsOf(counts);
    outputs.forEach(
        (count, logits) -> {
          double[] actual =
              logits.stream().flatMapToDouble(batch -> Arrays.stream(batch.toArray())).toArray();
          double[] expected = op.output("count_" + count).doubles();
          assertThat(actual).as("%s count %d", op, count).hasSameSizeAs(expected);
          for (int i = 0; i < actual.length; i++) {
            assertScalar(op, "count_" + count + " " + i, actual[i], expected[i]);
          }
        });
  }

  static void measures(GoldenModel g, GoldenOp op) {
    Map<Integer, List<Logits>> outputs = run(g, runOf(g.golden(), op));
    List<Logits> clean = plain(g, "clean");
    List<Logits> corrupt = plain(g, "corrupt");
    check(op, "kl_div_clean", outputs, circuit -> KlDivergence.mean(circuit, clean));
    check(op, "kl_div_corrupt", outputs, circuit -> KlDivergence.mean(circuit, corrupt));
    List<long[][]> right = answers(g, "data/answers");
    List<long[][]> wrong = answers(g, "data/wrong_answers");
    SCALES.forEach(
        (name, scale) -> {
          check(
              op,
              "answer_diff_" + name,
              outputs,
              circuit ->
                  mean(
                      circuit,
                      (logits, batch) ->
                          AnswerMetrics.differences(
                              logits, right.get(batch), wrong.get(batch), scale)));
          check(
              op,
              "answer_val_" + name + "_right",
              outputs,
              circuit ->
                  mean(circuit, (logits, b) -> AnswerMetrics.values(logits, right.get(b), scale)));
          check(
              op,
              "answer_val_" + name + "_wrong",
              outputs,
              circuit ->
                  mean(circuit, (logits, b) -> AnswerMetrics.values(logits, wrong.get(b), scale)));
          PerBatch<double[]> differences =
              (logits, b) -> AnswerMetrics.differences(logits, right.get(b), wrong.get(b), scale);
          double[] full = all(clean, differences);
          outputs.forEach(
              (edges, circuit) -> {
                double[] values = all(circuit, differences);
                GoldenEvaluationOps.assertPercent(
                    op,
                    "answer_diff_percent_" + name,
                    edges,
                    AnswerPercent.ofEachPrompt(values, full),
                    AnswerPercent.ofMeans(values, full),
                    full);
              });
        });
    GoldenEvaluationOps.areas(op);
    checkPercent(
        op,
        "correct_answer_percent_all",
        outputs,
        (logits, b) -> margins(logits, right.get(b), others(logits, right.get(b))),
        (logits, b) -> AnswerMetrics.isTop(logits, right.get(b)));
    checkPercent(
        op,
        "correct_answer_percent_among_given",
        outputs,
        (logits, b) -> margins(logits, right.get(b), wrong.get(b)),
        (logits, b) -> AnswerMetrics.beatsWrong(logits, right.get(b), wrong.get(b)));
  }

  static void answerOps(GoldenOp op) {
    Logits values = logits(op.input("vals"));
    long[][] right = rows(op.param("answers"));
    long[][] wrong = rows(op.param("wrong_answers"));
    double[] differences = AnswerMetrics.differences(values, right, wrong, AnswerScale.LOGIT);
    JsonNode expected = op.scalar("batch_answer_diffs");
    for (int row = 0; row < differences.length; row++) {
      assertScalar(op, "batch_answer_diffs", differences[row], expected.get(row).asDouble());
    }
    assertScalar(
        op,
        "batch_avg_answer_diff",
        Arrays.stream(differences).average().orElseThrow(),
        op.scalar("batch_avg_answer_diff").asDouble());
    assertScalar(
        op,
        "batch_avg_answer_val",
        Arrays.stream(AnswerMetrics.values(values, right, AnswerScale.LOGIT))
            .average()
            .orElseThrow(),
        op.scalar("batch_avg_answer_val").asDouble());
    // The reference refuses several answers here.
    if (op.scalar("correct_answer_proportion").isNumber()) {
      assertScalar(
          op,
          "correct_answer_proportion",
          share(AnswerMetrics.isTop(values, right)),
          op.scalar("correct_answer_proportion").asDouble());
      String among = "correct_answer_greater_than_incorrect_proportion";
      GoldenComparison.assertPercent(
          op + ": " + among, margins(values, right, wrong), 0, 100 * op.scalar(among).asDouble());
      assertThat(AnswerMetrics.beatsWrong(values, right, wrong))
          .containsExactly(positive(margins(values, right, wrong)));
    }
  }

  static void multibatchKlDiv(GoldenOp op) {
    Logits input = logits(op.input("input_logprobs"));
    Logits target = logits(op.input("target_logprobs"));
    assertScalar(op, "kl", KlDivergence.mean(input, target), op.scalar("kl").asDouble());
    assertScalar(op, "kl_self", KlDivergence.mean(input, input), op.scalar("kl_self").asDouble());
    assertThatIllegalArgumentException()
        .isThrownBy(() -> KlDivergence.mean(input, Logits.of(new float[][] {{1, 2}})));
  }

  private static Map<Integer, List<Logits>> run(GoldenModel g, GoldenOp op) {
    CircuitRuns runs = runs(g, op);
    Map<Integer, List<Logits>> outputs = new LinkedHashMap<>();
    if (g.takesTokens()) {
      CircuitOutputs all = runs.run(g.model(), g.promptPairs());
      all.sizes().forEach(size -> outputs.put(size, all.of(size)));
      return outputs;
    }
    Ablation type = Ablation.named(op.param("ablation_type").asText());
    CircuitRuns given = builder(op, scores(g, op), sizes(op, Integer.MAX_VALUE)).build();
    for (int batch = 0; batch < g.batches(); batch++) {
      String other = runs.runsOnClean() ? "corrupt" : "clean";
      try (SourceActivations activations =
          type instanceof BatchAblation ofOne
              ? g.model().sourceAblations(g.input(other, batch), ofOne)
              : meanOfCorrupt(g, type)) {
        given
            .run(g.model(), g.input(runs.runsOnClean() ? "clean" : "corrupt", batch), activations)
            .forEach(
                (size, logits) ->
                    outputs.computeIfAbsent(size, key -> new ArrayList<>()).add(logits));
      }
    }
    return outputs;
  }

  private static CircuitRuns runs(GoldenModel g, GoldenOp op) {
    return runs(op, scores(g, op), sizes(op, Integer.MAX_VALUE));
  }

  /** The sizes that the reference was given, but for those above the greatest. */
  static List<Integer> sizes(GoldenOp op, int greatest) {
    List<Integer> sizes = new ArrayList<>();
    op.param("test_edge_counts").forEach(size -> sizes.add(Math.min(size.asInt(), greatest)));
    return sizes.stream().distinct().toList();
  }

  /** An operation with scores and sizes in the place of its own. */
  static CircuitRuns runs(GoldenOp op, PruneScores scores, List<Integer> sizes) {
    return builder(op, scores, sizes)
        .ablation(Ablation.named(op.param("ablation_type").asText()))
        .reverseCleanCorrupt(op.param("reverse_clean_corrupt").asBoolean())
        .build();
  }

  private static CircuitRuns.Builder builder(GoldenOp op, PruneScores scores, List<Integer> sizes) {
    return CircuitRuns.builder(scores)
        .sizes(sizes)
        .patchType(PatchType.valueOf(op.param("patch_type").asText()));
  }

  private static boolean isTree(GoldenOp op) {
    return op.param("patch_type").asText().equals(PatchType.TREE_PATCH.name());
  }

  static PruneScores scores(GoldenModel g, GoldenOp op) {
    String name = op.param("scores").asText();
    Map<String, double[]> blocks = new LinkedHashMap<>();
    g.golden()
        .byModule("prune_scores/" + name.split(" ", 2)[0])
        .forEach((module, tensor) -> blocks.put(module, tensor.doubles().clone()));
    if (name.contains("+inf")) {
      blocks.get(name.substring(name.lastIndexOf(' ') + 1))[0] = Double.POSITIVE_INFINITY;
    }
    return PruneScores.ofModules(g.graph(), blocks);
  }

  /** For micro models, whose prompts are no tokens. */
  private static SourceActivations meanOfCorrupt(GoldenModel g, Ablation type) {
    assertThat(type).isEqualTo(DatasetAblation.TOKENWISE_MEAN_CORRUPT);
    List<Tensor> outputs = new ArrayList<>();
    for (int batch = 0; batch < g.batches(); batch++) {
      try (SourceActivations activations =
          g.model().sourceAblations(g.input("corrupt", batch), BatchAblation.RESAMPLE)) {
        outputs.add(activations.tensor());
      }
    }
    Tensor all = torch.cat(new TensorVector(outputs.toArray(Tensor[]::new)), 1);
    return SourceActivations.of(all.mean(new long[] {1}, true, null));
  }

  /** The operation that made the outputs which are measured. */
  private static GoldenOp runOf(GoldenCase golden, GoldenOp measures) {
    return golden.ops("run_circuits").stream()
        .filter(op -> op.param("scores").equals(measures.param("scores")))
        .filter(op -> op.param("patch_type").equals(measures.param("patch_type")))
        .filter(op -> op.param("ablation_type").asText().equals("RESAMPLE"))
        .filter(op -> !op.param("reverse_clean_corrupt").asBoolean())
        .findFirst()
        .orElseThrow();
  }

  private static List<Logits> plain(GoldenModel g, String which) {
    return IntStream.range(0, g.batches())
        .mapToObj(batch -> Logits.of(g.model().forward(g.input(which, batch), PatchContext.NONE)))
        .toList();
  }

  private static List<long[][]> answers(GoldenModel g, String key) {
    return IntStream.range(0, g.batches()).mapToObj(batch -> g.tokens(key, batch)).toList();
  }

  private static void check(
      GoldenOp op,
      String name,
      Map<Integer, List<Logits>> outputs,
      ToDoubleFunction<List<Logits>> measure) {
    JsonNode points = op.scalar(name);
    if (points.has("raises")) {
      return; // for instance several answers
    }
    assertThat(points).as("%s %s", op, name).isNotEmpty();
    for (JsonNode point : points) {
      double actual = measure.applyAsDouble(outputs.get(point.get(0).asInt()));
      assertScalar(op, name + " " + point.get(0), actual, GoldenCase.number(point.get(1)));
    }
  }

  /**
   * Shares of prompts by the margins of their answers, and the library's own shares, in which a
   * margin of 0 does not count.
   */
  private static void checkPercent(
      GoldenOp op,
      String name,
      Map<Integer, List<Logits>> outputs,
      PerBatch<double[]> margins,
      PerBatch<boolean[]> correct) {
    JsonNode points = op.scalar(name);
    if (points.has("raises")) {
      return; // for instance several answers
    }
    assertThat(points).as("%s %s", op, name).isNotEmpty();
    for (JsonNode point : points) {
      List<Logits> circuit = outputs.get(point.get(0).asInt());
      String what = "%s: %s %s".formatted(op, name, point.get(0));
      double[] all = each(circuit, margins).flatMapToDouble(Arrays::stream).toArray();
      double largest =
          circuit.stream()
              .flatMapToDouble(logits -> Arrays.stream(logits.toArray()))
              .map(Math::abs)
              .max()
              .orElse(0);
      double rounding = (op.goldenCase().isDouble() ? 1e-9 : 1e-4) * (1 + largest);
      GoldenComparison.assertPercent(what, all, rounding, GoldenCase.number(point.get(1)));
      for (int batch = 0; batch < circuit.size(); batch++) {
        assertThat(correct.of(circuit.get(batch), batch))
            .as(what)
            .containsExactly(positive(margins.of(circuit.get(batch), batch)));
      }
    }
  }

  private static <T> Stream<T> each(List<Logits> circuit, PerBatch<T> values) {
    return IntStream.range(0, circuit.size())
        .mapToObj(batch -> values.of(circuit.get(batch), batch));
  }

  /** By how much the greatest logit of some tokens is greater than that of others. */
  private static double[] margins(Logits logits, long[][] some, long[][] others) {
    return IntStream.range(0, logits.batch())
        .mapToDouble(row -> greatest(logits, row, some[row]) - greatest(logits, row, others[row]))
        .toArray();
  }

  private static boolean[] positive(double[] margins) {
    boolean[] positive = new boolean[margins.length];
    for (int i = 0; i < margins.length; i++) {
      positive[i] = margins[i] > 0;
    }
    return positive;
  }

  private static double greatest(Logits logits, int row, long[] tokens) {
    return Arrays.stream(tokens).mapToDouble(t -> logits.get(row, (int) t)).max().orElseThrow();
  }

  /** All tokens that are no answers. */
  private static long[][] others(Logits logits, long[][] answers) {
    return Arrays.stream(answers)
        .map(
            row ->
                LongStream.range(0, logits.vocabulary())
                    .filter(token -> Arrays.stream(row).noneMatch(answer -> answer == token))
                    .toArray())
        .toArray(long[][]::new);
  }

  private interface PerBatch<T> {
    T of(Logits logits, int batch);
  }

  private static double mean(List<Logits> circuit, PerBatch<double[]> values) {
    return each(circuit, values).flatMapToDouble(Arrays::stream).average().orElseThrow();
  }

  private static double[] all(List<Logits> circuit, PerBatch<double[]> values) {
    return each(circuit, values).flatMapToDouble(Arrays::stream).toArray();
  }

  private static double share(boolean[] flags) {
    return IntStream.range(0, flags.length).mapToDouble(i -> flags[i] ? 1 : 0).average().orElse(0);
  }

  private static long[][] rows(JsonNode lists) {
    long[][] rows = new long[lists.size()][];
    for (int row = 0; row < rows.length; row++) {
      JsonNode list = lists.get(row);
      rows[row] = IntStream.range(0, list.size()).mapToLong(i -> list.get(i).asLong()).toArray();
    }
    return rows;
  }

  private static Logits logits(GoldenTensor tensor) {
    try (PointerScope scope = new PointerScope()) {
      ScalarType type = tensor.dtype().equals("F64") ? ScalarType.Double : ScalarType.Float;
      return Logits.of(TensorArrays.of(tensor.doubles(), type, TestDevice.NAME, tensor.shape()));
    }
  }
}
