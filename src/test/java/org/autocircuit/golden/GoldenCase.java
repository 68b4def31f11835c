package org.autocircuit.golden;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.model.TransformerConfig;

/**
 * One folder of reference data: {@code case.json} and {@code tensors.safetensors}, in the format
 * that {@code src/test/resources/golden/FORMAT.md} describes. The property {@code
 * autocircuit.golden} names another folder of such folders.
 */
public final class GoldenCase {

  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Path BUNDLED = Path.of("src/test/resources/golden");

  private final Path folder;
  private final JsonNode json;
  private final Map<String, GoldenTensor> tensors;
  private final boolean isDouble;

  private GoldenCase(
      Path folder, JsonNode json, Map<String, GoldenTensor> tensors, boolean isDouble) {
    this.folder = folder;
    this.json = json;
    this.tensors = tensors;
    this.isDouble = isDouble;
  }

  /** The folder that holds the cases. */
  public static Path root() {
    return Path.of(System.getProperty("autocircuit.golden", BUNDLED.toString()));
  }

  /** Returns whether they are those of the project. */
  public static boolean isBundled() {
    return root().equals(BUNDLED);
  }

  /** Reads one case from its folder. */
  public static GoldenCase load(Path folder) {
    try {
      JsonNode json = JSON.readTree(folder.resolve("case.json").toFile());
      return new GoldenCase(
          folder,
          json,
          SafetensorsReader.read(folder.resolve("tensors.safetensors")),
          json.path("dtype").asText().equals("float64"));
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read the golden case in " + folder, e);
    }
  }

  /** Reads one case of the root folder by its name. */
  public static GoldenCase load(String name) {
    return load(root().resolve(name));
  }

  /** Reads all cases of models in the root folder, in alphabetical order. */
  public static List<GoldenCase> all() {
    try (Stream<Path> folders = Files.list(root())) {
      return folders
          .filter(folder -> Files.exists(folder.resolve("case.json")))
          .sorted()
          .map(GoldenCase::load)
          .filter(goldenCase -> !goldenCase.kind().equals("tensor_ops"))
          .toList();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot list the golden cases in " + root(), e);
    }
  }

  /** Reads a table, or nothing if the root folder has no such table. */
  public static Optional<JsonNode> table(String name) {
    Path file = root().resolve("tables").resolve(name + ".json");
    try {
      return Files.exists(file) ? Optional.of(JSON.readTree(file.toFile())) : Optional.empty();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + file, e);
    }
  }

  /** A number of the JSON, where {@code "inf"}, {@code "-inf"} and {@code "nan"} are strings. */
  public static double number(JsonNode node) {
    if (node.isNumber()) {
      return node.doubleValue();
    }
    return switch (node.asText()) {
      case "inf" -> Double.POSITIVE_INFINITY;
      case "-inf" -> Double.NEGATIVE_INFINITY;
      case "nan" -> Double.NaN;
      default -> throw new IllegalArgumentException("expected a number, got " + node);
    };
  }

  /** The name of the case. */
  public String name() {
    return json.path("name").asText(folder.getFileName().toString());
  }

  /** The whole description. */
  public JsonNode json() {
    return json;
  }

  /** The kind of model: {@code micro}, {@code gpt2}, … */
  public String kind() {
    return json.path("kind").asText();
  }

  /** Returns whether the case was computed in double precision. */
  public boolean isDouble() {
    return isDouble;
  }

  /** This case as if it had been computed in double precision: to see what rounding does. */
  GoldenCase inDoublePrecision() {
    return new GoldenCase(folder, json, tensors, true);
  }

  /** Examples in a batch. */
  public int batch() {
    return json.path("batch").asInt(3);
  }

  /** Tokens of an example, without those of a shared prefix. */
  public int seq() {
    return json.path("seq").asInt(6) - json.path("prefix").asInt(0);
  }

  /** Positions that have masks of their own, or empty. */
  public OptionalInt seqLen() {
    JsonNode seqLen = json.path("seq_len");
    return seqLen.isInt() ? OptionalInt.of(seqLen.asInt()) : OptionalInt.empty();
  }

  /** Why this project cannot build the case's model, or empty if it can. */
  public Optional<String> unsupported() {
    if (json.has("patchable_model_raises")) {
      return Optional.of("the reference refuses to build this model");
    }
    return Optional.empty();
  }

  /** The model's structure. */
  public ModelConfig config() {
    if (kind().equals("micro")) {
      return new MicroModelConfig(json.get("n_layers").asInt());
    }
    TransformerConfig config = GoldenConfig.of(json.get("cfg"));
    return json.has("sae") ? withAutoencoders(config) : config;
  }

  private TransformerConfig withAutoencoders(TransformerConfig config) {
    SortedMap<Integer, Integer> latents = new TreeMap<>();
    json.get("sae_n_latents").forEach(n -> latents.put(latents.size(), n.asInt()));
    AutoencoderConfig shared = AutoencoderConfig.of(latents);
    boolean perSeq = json.at("/sae/per_seq").asBoolean();
    return config.toBuilder().autoencoders(perSeq ? shared.withSeqLen(seq()) : shared).build();
  }

  /** The name of an edge that is written as {@code [name, position or null]}. */
  public static String edgeName(JsonNode edge) {
    return edge.get(0).asText() + (edge.get(1).isNull() ? "" : "@" + edge.get(1).asInt());
  }

  /** The graph of the case's patchable model. */
  public ModelGraph graph() {
    boolean factorized = json.path("factorized").asBoolean(true);
    boolean separateQkv = json.path("separate_qkv").asBoolean();
    ModelGraph graph =
        seqLen().isPresent()
            ? ModelGraph.of(config(), factorized, separateQkv, seqLen().getAsInt())
            : ModelGraph.of(config(), factorized, separateQkv);
    return ungroupKeyValues() ? graph.ungroupKeyValues() : graph;
  }

  /** The reference's graph, which is not {@link #graph()} if {@link #referenceFailsToPatch()}. */
  public ModelGraph referenceGraph() {
    return graph().ungroupKeyValues();
  }

  /** Returns whether grouped-query attention has key and value destinations for each query head. */
  public boolean ungroupKeyValues() {
    return json.at("/cfg/ungroup_grouped_query_attention").asBoolean();
  }

  /**
   * Returns whether the reference fails on every patched run, because its graph has key and value
   * destinations for query heads that its model does not have. Ours has them for key/value heads.
   */
  public boolean referenceFailsToPatch() {
    return config() instanceof TransformerConfig transformer
        && transformer.groupedQueries()
        && !ungroupKeyValues();
  }

  /** The operations in the order in which the reference ran them. */
  public List<GoldenOp> ops() {
    List<GoldenOp> ops = new ArrayList<>();
    json.path("ops").forEach(op -> ops.add(new GoldenOp(this, op)));
    return ops;
  }

  /** The largest logit of the unpatched model, but at least 1. */
  public double logitScale() {
    return ops("forward").stream()
        .mapToDouble(op -> GoldenComparison.largest(op.output("logits")))
        .reduce(1, Math::max);
  }

  /** The operations of one kind. */
  public List<GoldenOp> ops(String name) {
    return ops().stream().filter(op -> op.name().equals(name)).toList();
  }

  /** Returns whether there is a tensor of that name. */
  public boolean hasTensor(String key) {
    return tensors.containsKey(key);
  }

  /** A tensor by its name. */
  public GoldenTensor tensor(String key) {
    GoldenTensor tensor = tensors.get(key);
    if (tensor == null) {
      throw new IllegalArgumentException(name() + " has no tensor '" + key + "'");
    }
    return tensor;
  }

  /** The tensors whose names begin with {@code prefix/}, by the rest of their names. */
  public Map<String, GoldenTensor> byModule(String prefix) {
    Map<String, GoldenTensor> found = new LinkedHashMap<>();
    tensors.forEach(
        (key, tensor) -> {
          if (key.startsWith(prefix + "/")) {
            found.put(key.substring(prefix.length() + 1), tensor);
          }
        });
    return found;
  }

  /** The name of the case. */
  @Override
  public String toString() {
    return name();
  }
}
