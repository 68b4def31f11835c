package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.golden.GoldenCase;
import org.autocircuit.golden.GoldenOp;
import org.autocircuit.golden.GoldenTensor;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Gpt2Weights;
import org.autocircuit.model.Model;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.TransformerLensWeights;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.PruneScores;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Circuit runs and measures of every supported case of the reference data. */
class CircuitRunsGoldenTest {

  private static final int BATCHES = 2;
  private static final double TOLERANCE = 2e-4;

  static Stream<GoldenCase> cases() {
    return GoldenCase.all().stream()
        .filter(goldenCase -> goldenCase.unsupported().isEmpty() && isBuildable(goldenCase));
  }

  private static boolean isBuildable(GoldenCase goldenCase) {
    try {
      return goldenCase.config() != null;
    } catch (IllegalArgumentException e) {
      return false;
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void runsEveryCircuitAsTheReference(GoldenCase goldenCase) {
    try (PointerScope scope = new PointerScope();
        PatchableModel model = model(goldenCase)) {
      for (GoldenOp op : goldenCase.ops("run_circuits")) {
        if (op.raises() == null) {
          Map<Integer, List<Logits>> outputs = run(goldenCase, model, op);
          assertThat(outputs.keySet()).as("%s", op).containsExactlyElementsOf(counts(op));
          outputs.forEach(
              (count, logits) ->
                  assertClose(
                      op + " count " + count,
                      logits.stream().flatMapToDouble(l -> Arrays.stream(l.toArray())).toArray(),
                      op.output("count_" + count)));
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void measuresEveryCircuitAsTheReference(GoldenCase goldenCase) {
    try (PointerScope scope = new PointerScope();
        PatchableModel model = model(goldenCase)) {
      for (GoldenOp op : goldenCase.ops("measures")) {
        Map<Integer, List<Logits>> outputs = run(goldenCase, model, runOf(goldenCase, op));
        List<Logits> clean = plain(goldenCase, model, "data/clean");
        List<Logits> corrupt = plain(goldenCase, model, "data/corrupt");
        check(op, "kl_div_clean", outputs, circuit -> KlDivergence.mean(circuit, clean));
        check(op, "kl_div_corrupt", outputs, circuit -> KlDivergence.mean(circuit, corrupt));
        checkScale(goldenCase, op, outputs, AnswerScale.LOGIT, "logits");
        checkScale(goldenCase, op, outputs, AnswerScale.PROBABILITY, "softmax");
        checkScale(goldenCase, op, outputs, AnswerScale.LOG_PROBABILITY, "log_softmax");
        long[][][] right = answers(goldenCase, "data/answers");
        long[][][] wrong = answers(goldenCase, "data/wrong_answers");
        check(
            op,
            "correct_answer_percent_all",
            outputs,
            circuit -> percent(circuit, (l, b) -> AnswerMetrics.isTop(l, right[b])));
        check(
            op,
            "correct_answer_percent_among_given",
            outputs,
            circuit -> percent(circuit, (l, b) -> AnswerMetrics.beatsWrong(l, right[b], wrong[b])));
      }
    }
  }

  private static void checkScale(
      GoldenCase goldenCase,
      GoldenOp op,
      Map<Integer, List<Logits>> outputs,
      AnswerScale scale,
      String name) {
    long[][][] right = answers(goldenCase, "data/answers");
    long[][][] wrong = answers(goldenCase, "data/wrong_answers");
    check(
        op,
        "answer_diff_" + name,
        outputs,
        circuit -> mean(circuit, (l, b) -> AnswerMetrics.differences(l, right[b], wrong[b], scale)));
    check(
        op,
        "answer_val_" + name + "_right",
        outputs,
        circuit -> mean(circuit, (l, b) -> AnswerMetrics.values(l, right[b], scale)));
    check(
        op,
        "answer_val_" + name + "_wrong",
        outputs,
        circuit -> mean(circuit, (l, b) -> AnswerMetrics.values(l, wrong[b], scale)));
  }

  private static void check(
      GoldenOp op,
      String name,
      Map<Integer, List<Logits>> outputs,
      ToDoubleFunction<List<Logits>> measure) {
    JsonNode points = op.scalar(name);
    if (points.isMissingNode() || points.has("raises")) {
      return;
    }
    for (JsonNode point : points) {
      double expected = GoldenCase.number(point.get(1));
      double actual = measure.applyAsDouble(outputs.get(point.get(0).asInt()));
      assertThat(actual)
          .as("%s of %s at %s", name, op, point.get(0))
          .isCloseTo(expected, within(TOLERANCE + TOLERANCE * Math.abs(expected)));
    }
  }

  private interface PerBatch<T> {
    T of(Logits logits, int batch);
  }

  private static double mean(List<Logits> circuit, PerBatch<double[]> values) {
    return IntStream.range(0, circuit.size())
        .mapToObj(batch -> values.of(circuit.get(batch), batch))
        .flatMapToDouble(Arrays::stream)
        .average()
        .orElseThrow();
  }

  private static double percent(List<Logits> circuit, PerBatch<boolean[]> correct) {
    return 100
        * mean(
            circuit,
            (logits, batch) -> {
              boolean[] flags = correct.of(logits, batch);
              return IntStream.range(0, flags.length).mapToDouble(i -> flags[i] ? 1 : 0).toArray();
            });
  }

  /** The op that made the outputs which are measured. */
  private static GoldenOp runOf(GoldenCase goldenCase, GoldenOp measures) {
    return goldenCase.ops("run_circuits").stream()
        .filter(op -> op.param("scores").equals(measures.param("scores")))
        .filter(op -> op.param("patch_type").equals(measures.param("patch_type")))
        .filter(op -> op.param("ablation_type").asText().equals("RESAMPLE"))
        .filter(op -> !op.param("reverse_clean_corrupt").asBoolean())
        .findFirst()
        .orElseThrow();
  }

  private static Map<Integer, List<Logits>> run(
      GoldenCase goldenCase, PatchableModel model, GoldenOp op) {
    AblationType ablation = AblationType.valueOf(op.param("ablation_type").asText());
    List<Integer> sizes = new ArrayList<>();
    op.param("test_edge_counts").forEach(size -> sizes.add(size.asInt()));
    CircuitRuns runs =
        CircuitRuns.builder(scores(goldenCase, op))
            .sizes(sizes)
            .patchType(PatchType.valueOf(op.param("patch_type").asText()))
            .ablationType(ablation)
            .reverseCleanCorrupt(op.param("reverse_clean_corrupt").asBoolean())
            .build();
    Map<Integer, List<Logits>> outputs = new LinkedHashMap<>();
    for (int batch = 0; batch < BATCHES; batch++) {
      Tensor input = input(goldenCase, runs.runsOnClean() ? "data/clean" : "data/corrupt", batch);
      Tensor other = input(goldenCase, runs.runsOnClean() ? "data/corrupt" : "data/clean", batch);
      try (SourceActivations activations =
          ablation.meanOverDataset()
              ? dataSetMean(goldenCase, model, ablation)
              : model.sourceAblations(other, ablation)) {
        runs.run(model, input, activations)
            .forEach(
                (size, logits) ->
                    outputs.computeIfAbsent(size, k -> new ArrayList<>()).add(logits));
      }
    }
    return outputs;
  }

  /** The mean over the corrupt prompts, from the batches' own outputs. */
  private static SourceActivations dataSetMean(
      GoldenCase goldenCase, PatchableModel model, AblationType ablation) {
    assertThat(ablation).isEqualTo(AblationType.TOKENWISE_MEAN_CORRUPT);
    TensorVector outputs = new TensorVector();
    for (int batch = 0; batch < BATCHES; batch++) {
      try (SourceActivations activations =
          model.sourceAblations(
              input(goldenCase, "data/corrupt", batch), AblationType.RESAMPLE)) {
        outputs.push_back(activations.tensor());
      }
    }
    Tensor all = torch.cat(outputs, 1);
    return SourceActivations.of(all.mean(new long[] {1}, true, null));
  }

  private static PruneScores scores(GoldenCase goldenCase, GoldenOp op) {
    String name = op.param("scores").asText();
    Map<String, double[]> blocks = new LinkedHashMap<>();
    goldenCase
        .byModule("prune_scores/" + name.split(" ")[0])
        .forEach((module, tensor) -> blocks.put(module, tensor.doubles().clone()));
    if (name.contains("+inf")) {
      blocks.get(name.substring(name.lastIndexOf(' ') + 1))[0] = Double.POSITIVE_INFINITY;
    }
    return PruneScores.ofModules(goldenCase.graph(), blocks);
  }

  private static List<Integer> counts(GoldenOp op) {
    List<Integer> counts = new ArrayList<>();
    op.scalar("actual_counts_in_order").forEach(count -> counts.add(count.asInt()));
    return counts;
  }

  private static List<Logits> plain(GoldenCase goldenCase, PatchableModel model, String data) {
    return IntStream.range(0, BATCHES)
        .mapToObj(
            batch -> Logits.of(model.forward(input(goldenCase, data, batch), PatchContext.NONE)))
        .toList();
  }

  private static long[][][] answers(GoldenCase goldenCase, String key) {
    GoldenTensor tensor = goldenCase.tensor(key);
    int columns = (int) tensor.shape()[1];
    long[][][] answers = new long[BATCHES][goldenCase.batch()][];
    for (int i = 0; i < tensor.shape()[0]; i++) {
      answers[i / goldenCase.batch()][i % goldenCase.batch()] =
          Arrays.copyOfRange(tensor.longs(), i * columns, (i + 1) * columns);
    }
    return answers;
  }

  private static Tensor input(GoldenCase goldenCase, String key, int batch) {
    long size = goldenCase.batch();
    return tensor(goldenCase, goldenCase.tensor(key)).narrow(0, batch * size, size);
  }

  private static Tensor tensor(GoldenCase goldenCase, GoldenTensor tensor) {
    ScalarType type = goldenCase.isDouble() ? ScalarType.Double : ScalarType.Float;
    return tensor.isFloating()
        ? TensorArrays.of(tensor.doubles(), type, "cpu", tensor.shape())
        : TensorArrays.of(tensor.longs(), "cpu", tensor.shape());
  }

  private static PatchableModel model(GoldenCase goldenCase) {
    Map<String, Tensor> weights = new LinkedHashMap<>();
    goldenCase
        .byModule("weights")
        .forEach((name, weight) -> weights.put(name, tensor(goldenCase, weight)));
    addNormWeights(goldenCase, weights);
    PatchableModelOptions options =
        PatchableModelOptions.defaults()
            .withFactorized(goldenCase.json().get("factorized").asBoolean())
            .withSeparateQkv(goldenCase.json().path("separate_qkv").asBoolean())
            .withOutputSlice(slice(goldenCase.json().path("slice_output").asText()));
    if (goldenCase.seqLen().isPresent()) {
      options = options.withSeqLen(goldenCase.seqLen().getAsInt());
    }
    try (Model model =
        Model.of(
            goldenCase.config(),
            TransformerLensWeights.toCanonical(goldenCase.config(), weights))) {
      return PatchableModel.of(model, options);
    }
  }

  /** Where they are folded into what follows, ones and zeros have the same effect. */
  private static void addNormWeights(GoldenCase goldenCase, Map<String, Tensor> weights) {
    if (goldenCase.config() instanceof TransformerConfig transformer) {
      for (Gpt2Weights.Weight weight : Gpt2Weights.of(transformer, true)) {
        if (weight.name().matches(".*(ln1|ln2|ln_final)\\.[wb]")) {
          double[] values = new double[transformer.dModel()];
          Arrays.fill(values, weight.name().endsWith("w") ? 1 : 0);
          GoldenTensor tensor = new GoldenTensor("F32", weight.shapeArray(), values, null);
          weights.computeIfAbsent(weight.name(), name -> tensor(goldenCase, tensor));
        }
      }
    }
  }

  private static OutputSlice slice(String name) {
    return switch (name) {
      case "last_seq" -> OutputSlice.LAST_SEQ;
      case "not_first_seq" -> OutputSlice.NOT_FIRST_SEQ;
      default -> OutputSlice.ALL;
    };
  }

  private static void assertClose(String what, double[] actual, GoldenTensor expected) {
    double[] goal = expected.doubles();
    assertThat(actual).as(what).hasSameSizeAs(goal);
    for (int i = 0; i < goal.length; i++) {
      assertThat(actual[i])
          .as("%s [%d]", what, i)
          .isCloseTo(goal[i], within(TOLERANCE + TOLERANCE * Math.abs(goal[i])));
    }
  }
}
