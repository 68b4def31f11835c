package org.autocircuit.golden;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestDevice;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.TransformerLensWeights;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The model of a case, made patchable, and the case's data as tensors. */
final class GoldenModel implements AutoCloseable {

  private final PointerScope scope = new PointerScope();
  private final GoldenCase golden;
  private final Optional<PrefixCache> prefix;
  private final PatchableModel withoutPrefix;
  private final PatchableModel model;

  GoldenModel(GoldenCase golden) {
    this(golden, golden.ungroupKeyValues());
  }

  GoldenModel(GoldenCase golden, boolean ungroupKeyValues) {
    this.golden = golden;
    ModelConfig config = golden.config();
    Map<String, Tensor> weights = new LinkedHashMap<>();
    golden.byModule("weights").forEach((name, weight) -> weights.put(name, tensor(weight)));
    PatchableModelOptions forAllPositions =
        PatchableModelOptions.defaults()
            .withFactorized(golden.json().get("factorized").asBoolean())
            .withSeparateQkv(golden.json().path("separate_qkv").asBoolean())
            .withUngroupKeyValues(ungroupKeyValues)
            .withOutputSlice(slice());
    PatchableModelOptions options =
        golden.seqLen().isPresent()
            ? forAllPositions.withSeqLen(golden.seqLen().getAsInt())
            : forAllPositions;
    prefix = golden.json().has("prefix") ? Optional.of(givenPrefix()) : Optional.empty();
    try (Model plain = Model.of(config, TransformerLensWeights.toCanonical(config, weights))) {
      withoutPrefix = PatchableModel.of(plain, options);
    }
    model = prefix.map(withoutPrefix::withPrefix).orElse(withoutPrefix);
  }

  /** The keys and values that the reference computed. */
  private PrefixCache givenPrefix() {
    List<Tensor> keys = new ArrayList<>();
    List<Tensor> values = new ArrayList<>();
    for (int block = 0; block < golden.config().nLayers(); block++) {
      keys.add(tensor(golden.tensor("data/kv_cache/" + block + "/keys")));
      values.add(tensor(golden.tensor("data/kv_cache/" + block + "/values")));
    }
    return PrefixCache.of(keys, values);
  }

  /** The model as the reference runs it: after the case's prefix if it has one. */
  PatchableModel model() {
    return model;
  }

  PatchableModel withoutPrefix() {
    return withoutPrefix;
  }

  Optional<PrefixCache> prefix() {
    return prefix;
  }

  /** Logits of one example of a batch by itself. */
  Tensor forward(Tensor input, int example, PatchContext context) {
    ForwardRequest request = ForwardRequest.of(row(input, example)).withContext(context);
    if (prefix.isEmpty()) {
      return model.forward(request).logits();
    }
    try (PrefixCache own =
        PrefixCache.of(
            prefix.get().keys().stream().map(keys -> row(keys, example)).toList(),
            prefix.get().values().stream().map(values -> row(values, example)).toList())) {
      return model.forward(request.withPrefix(own)).logits();
    }
  }

  private static Tensor row(Tensor rows, int row) {
    return rows.narrow(0, row, 1).contiguous();
  }

  ModelGraph graph() {
    return model.graph();
  }

  GoldenCase golden() {
    return golden;
  }

  /** The slice of the output that the case's model returns. */
  OutputSlice slice() {
    return switch (golden.json().path("slice_output").asText("null")) {
      case "last_seq" -> OutputSlice.LAST_SEQ;
      case "not_first_seq" -> OutputSlice.NOT_FIRST_SEQ;
      case "null" -> OutputSlice.ALL;
      default -> throw new IllegalStateException(golden + ": unknown slice_output");
    };
  }

  /** The part of full logits that the case's model returns. */
  Tensor sliced(Tensor logits) {
    return switch (slice()) {
      case ALL -> logits;
      case LAST_SEQ -> logits.select(1, -1);
      case NOT_FIRST_SEQ -> logits.narrow(1, 1, logits.size(1) - 1);
    };
  }

  Tensor tensor(GoldenTensor tensor) {
    return tensor.isFloating()
        ? tensor(tensor.doubles(), tensor.shape())
        : TensorArrays.of(tensor.longs(), TestDevice.NAME, tensor.shape());
  }

  private Tensor tensor(double[] values, long... shape) {
    return TensorArrays.of(
        values, golden.isDouble() ? ScalarType.Double : ScalarType.Float, TestDevice.NAME, shape);
  }

  /** The prompts that a parameter such as {@code "clean batch 0"} names. */
  Tensor input(String which) {
    String[] words = which.split(" ", -1);
    if (words.length != 3 || !words[1].equals("batch")) {
      throw new IllegalArgumentException("expected '<which> batch <number>', got '" + which + "'");
    }
    return input(words[0], Integer.parseInt(words[2]));
  }

  Tensor input(String which, int batch) {
    return rows("data/" + which, batch);
  }

  /** The rows of one batch. */
  Tensor rows(String key, int batch) {
    return tensor(golden.tensor(key))
        .narrow(0, (long) batch * golden.batch(), golden.batch())
        .contiguous();
  }

  /** Rows of token numbers of one batch. */
  long[][] tokens(String key, int batch) {
    GoldenTensor all = golden.tensor(key);
    int columns = Math.toIntExact(all.shape()[1]);
    long[][] rows = new long[golden.batch()][];
    for (int i = 0; i < rows.length; i++) {
      int row = batch * golden.batch() + i;
      rows[i] = Arrays.copyOfRange(all.longs(), row * columns, (row + 1) * columns);
    }
    return rows;
  }

  int batches() {
    return Math.toIntExact(golden.tensor("data/clean").shape()[0] / golden.batch());
  }

  /** The batches as prompt pairs; not for the micro model, whose prompts are no tokens. */
  List<PromptPairBatch> promptPairs() {
    List<PromptPairBatch> batches = new ArrayList<>();
    for (int batch = 0; batch < batches(); batch++) {
      List<PromptPair> texts = new ArrayList<>();
      for (int row = 0; row < golden.batch(); row++) {
        texts.add(new PromptPair("clean", "corrupt", List.of("right"), List.of("wrong")));
      }
      batches.add(
          new PromptPairBatch(
              texts,
              tokens("data/clean", batch),
              tokens("data/corrupt", batch),
              tokens("data/answers", batch),
              tokens("data/wrong_answers", batch)));
    }
    return batches;
  }

  boolean takesTokens() {
    return golden.config() instanceof TransformerConfig;
  }

  SourceActivations activations(GoldenOp op) {
    return SourceActivations.of(tensor(op.input("patch_src_outs")));
  }

  /** Values of destination modules as one flat vector. */
  double[] flat(Map<String, GoldenTensor> byModule) {
    return flat(byModule, 1)[0];
  }

  /** Values of destination modules with a batch dimension, a flat vector for each example. */
  double[][] flat(Map<String, GoldenTensor> byModule, int batch) {
    double[][] flat = new double[batch][graph().maskSize()];
    for (DestModule module : graph().destModules()) {
      GoldenTensor tensor = byModule.get(module.moduleName());
      if (tensor == null) {
        throw new IllegalArgumentException(
            "no value for %s, only for %s".formatted(module.moduleName(), byModule.keySet()));
      }
      if (tensor.size() != batch * module.size()) {
        throw new IllegalArgumentException(
            "%s: expected %s values, got %s".formatted(module.moduleName(), module.size(), tensor));
      }
      for (int i = 0; i < batch; i++) {
        System.arraycopy(
            tensor.doubles(), i * module.size(), flat[i], module.offset(), module.size());
      }
    }
    return flat;
  }

  Tensor perExample(Map<String, GoldenTensor> byModule) {
    double[][] rows = flat(byModule, golden.batch());
    double[] all = Arrays.stream(rows).flatMapToDouble(Arrays::stream).toArray();
    return tensor(all, rows.length, graph().maskSize());
  }

  /** Edges given as pairs of a name and a position or null. */
  List<Edge> edges(JsonNode pairs) {
    List<Edge> edges = new ArrayList<>();
    for (JsonNode pair : pairs) {
      edges.add(graph().edge(graph().index(GoldenCase.edgeName(pair))));
    }
    return edges;
  }

  @Override
  public void close() {
    model.close();
    withoutPrefix.close();
    prefix.ifPresent(PrefixCache::close);
    scope.close();
  }
}
