package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Activation;
import org.autocircuit.model.AttentionScores;
import org.autocircuit.model.Biases;
import org.autocircuit.model.Norm;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;

/**
 * A model of Llama's kind in a GGUF file, read as the Hugging Face folder that llama.cpp's
 * converter made it from. The converter renames tensors; of the architecture {@code llama} it also
 * sorts the rows of queries and keys, so that rotations turn adjacent values, which is undone here.
 */
final class GgufCheckpoint {

  private static final String LLAMA = "llama";
  private static final String QWEN2 = "qwen2";
  private static final String QWEN3 = "qwen3";
  private static final String DIVISORS = "rope_freqs.weight";
  private static final String OLD_FACTOR = "rope.scale_linear";

  /** Name tokens that end a sequence, a turn and a message. */
  private static final List<String> END_TOKENS =
      List.of("ggml.eos_token_id", "ggml.eot_token_id", "ggml.eom_token_id");

  /** Hugging Face's names, then the file's; in blocks behind the block. */
  private static final Map<String, String> NAMES =
      Map.ofEntries(
          Map.entry("model.embed_tokens", "token_embd"),
          Map.entry("input_layernorm", "attn_norm"),
          Map.entry("self_attn.q_proj", "attn_q"),
          Map.entry("self_attn.k_proj", "attn_k"),
          Map.entry("self_attn.v_proj", "attn_v"),
          Map.entry("self_attn.q_norm", "attn_q_norm"),
          Map.entry("self_attn.k_norm", "attn_k_norm"),
          Map.entry("self_attn.o_proj", "attn_output"),
          Map.entry("post_attention_layernorm", "ffn_norm"),
          Map.entry("mlp.gate_proj", "ffn_gate"),
          Map.entry("mlp.up_proj", "ffn_up"),
          Map.entry("mlp.down_proj", "ffn_down"),
          Map.entry("model.norm", "output_norm"),
          Map.entry("lm_head", "output"));

  private static final Pattern TENSOR =
      Pattern.compile("(?:model\\.layers\\.(\\d+)\\.)?(.+)\\.(weight|bias)");
  private static final Pattern QUERY_OR_KEY = Pattern.compile("blk\\.\\d+\\.attn_([qk])\\..*");

  /** Metadata of an architecture that is read: another key may change the computation. */
  private static final List<String> KEYS =
      List.of(
          "block_count",
          "context_length",
          "embedding_length",
          "feed_forward_length",
          "vocab_size",
          "attention.head_count",
          "attention.head_count_kv",
          "attention.key_length",
          "attention.value_length",
          "attention.layer_norm_rms_epsilon",
          "rope.dimension_count",
          "rope.freq_base",
          "rope.scaling.type",
          "rope.scaling.factor",
          OLD_FACTOR);

  /** Metadata that changes nothing that is computed here. */
  private static final List<String> REMARKS =
      List.of(
          "tensor_data_layout", "rope.scaling.finetuned", "rope.scaling.original_context_length");

  private GgufCheckpoint() {}

  static HuggingFaceCheckpoint open(Path file) {
    GgufHeader header = GgufHeader.read(file);
    HuggingFaceConfig config = config(file, header);
    WeightFiles files = new WeightFiles(file, tensors(header, config));
    return HuggingFaceCheckpoint.locate(files, config, "its metadata", GgufCheckpoint::name);
  }

  /** Returns what the metadata say. */
  static HuggingFaceConfig config(Path file) {
    return config(file, GgufHeader.read(file));
  }

  private static HuggingFaceConfig config(Path file, GgufHeader header) {
    try {
      return config(header);
    } catch (CheckpointException e) {
      throw e;
    } catch (IllegalArgumentException e) { // sizes that do not go together
      throw new CheckpointException("%s: %s".formatted(file, e.getMessage()), e);
    }
  }

  private static HuggingFaceConfig config(GgufHeader header) {
    ConfigReader general = object(header, "general");
    if (general.isSet("type")) {
      general.requireString("type", List.of("model"));
    }
    Optional<ConfigReader> split = header.metadata().object("split");
    if (split.isPresent() && split.get().positiveInt("count", 1) > 1) {
      throw split
          .get()
          .error(
              "count",
              split.get().positiveInt("count"),
              "1 (llama-gguf-split --merge joins parts)");
    }
    String architecture = general.requireString("architecture", List.of(LLAMA, QWEN2, QWEN3));
    ConfigReader reader = object(header, architecture);
    reader.requireOnly(KEYS, GgufCheckpoint::isHarmless);
    int nHeads = reader.positiveInt("attention.head_count");
    int dHead =
        reader.isSet("attention.key_length")
            ? reader.positiveInt("attention.key_length")
            : ModelFamily.evenHeads(reader, "embedding_length", "attention.head_count");
    for (String same : List.of("attention.value_length", "rope.dimension_count")) {
      if (reader.positiveInt(same, dHead) != dHead) {
        throw reader.error(same, reader.positiveInt(same), "the width of a head, " + dHead);
      }
    }
    boolean attentionBias = header.tensors().containsKey("blk.0.attn_output.bias");
    TransformerConfig.Builder builder =
        TransformerConfig.builder()
            .nLayers(reader.positiveInt("block_count"))
            .dModel(reader.positiveInt("embedding_length"))
            .nHeads(nHeads)
            .nKeyValueHeads(reader.positiveInt("attention.head_count_kv", nHeads))
            .dHead(dHead)
            .dMlp(reader.positiveInt("feed_forward_length"))
            .dVocab(vocabulary(header, reader))
            .nCtx(reader.positiveInt("context_length"))
            .norm(Norm.rmsNorm(reader.positiveNumber("attention.layer_norm_rms_epsilon")))
            .rotary(rotary(header, reader, dHead))
            .activation(Activation.SILU)
            .gatedMlp(true)
            .biases(new Biases(attentionBias || architecture.equals(QWEN2), attentionBias, false));
    if (architecture.equals(QWEN3)) {
      builder.attentionScores(AttentionScores.PLAIN.withQkNorm());
    }
    ConfigReader tokenizer = header.metadata().object("tokenizer").orElse(general);
    return new HuggingFaceConfig(
        architecture,
        builder.build(),
        !header.tensors().containsKey("output.weight"),
        tokenizer.tokenId("ggml.bos_token_id"),
        END_TOKENS.stream().flatMap(key -> tokenizer.tokenIds(key).stream()).toList());
  }

  /** Zero and false switch off what a key stands for; only causality is on. */
  private static boolean isHarmless(String key, JsonNode value) {
    if (key.equals("attention.causal")) {
      return value.isBoolean() && value.booleanValue();
    }
    boolean off =
        value.isBoolean() ? !value.booleanValue() : value.isNumber() && value.doubleValue() == 0;
    return off || REMARKS.contains(key);
  }

  private static ConfigReader object(GgufHeader header, String key) {
    ConfigReader metadata = header.metadata();
    return metadata.object(key).orElseThrow(() -> metadata.error(key, "missing", "metadata"));
  }

  /** Rows of the embedding: not every file says it, and what is said may be padded. */
  private static int vocabulary(GgufHeader header, ConfigReader reader) {
    GgufTensor embedding = header.tensors().get("token_embd.weight");
    long rows = embedding == null ? reader.positiveInt("vocab_size") : embedding.shape()[0];
    return (int) Math.min(rows, Integer.MAX_VALUE);
  }

  private static RotaryPositions rotary(GgufHeader header, ConfigReader reader, int dims) {
    RotaryPositions plain =
        RotaryPositions.halves(dims).withBase(reader.positiveNumber("rope.freq_base", 10_000));
    GgufTensor divisors = header.tensors().get(DIVISORS);
    double factor = factor(reader);
    if (divisors == null) {
      return factor == 1 ? plain : plain.withScaling(new RotaryPositions.Linear(factor));
    }
    if (factor != 1) {
      throw reader.error("rope.scaling.factor", factor, "1 beside the tensor " + DIVISORS);
    }
    return plain.withScaling(llama3(plain, divisors));
  }

  /**
   * Returns what all frequencies are divided by. A file that gives a factor and no type means
   * linear.
   */
  private static double factor(ConfigReader reader) {
    String type = "rope.scaling.type";
    if (reader.isSet(type)
        && reader.requireString(type, List.of("none", "linear")).equals("none")) {
      return 1;
    }
    String key = reader.isSet("rope.scaling.factor") ? "rope.scaling.factor" : OLD_FACTOR;
    return reader.isZero(key) ? 1 : reader.positiveNumber(key, 1);
  }

  /**
   * Of Llama 3's scaling a file has only what each frequency is divided by. The published models
   * differ in the greatest divisor and in nothing else.
   */
  private static RotaryPositions.Scaling llama3(RotaryPositions plain, GgufTensor tensor) {
    double[] divisors;
    try (CallScope scope = new CallScope()) {
      divisors = TensorArrays.doubles(tensor.read(LoadOptions.DEFAULT));
    }
    double greatest = Arrays.stream(divisors).max().orElse(0);
    RotaryPositions.Llama3 scaling = new RotaryPositions.Llama3(greatest, 1, 4, 8192);
    boolean same = divisors.length == plain.dims() / 2;
    for (int i = 0; same && i < divisors.length; i++) {
      double divisor = scaling.divisor(Math.pow(plain.base(), -2.0 * i / plain.dims()));
      same = Math.abs(divisors[i] / divisor - 1) < 1e-4;
    }
    if (!same) {
      throw new CheckpointException(
          "%s: tensor %s is not that of Llama 3.1 to 3.3 (nothing else is supported)"
              .formatted(tensor.file(), DIVISORS));
    }
    return scaling;
  }

  private static Map<String, StoredTensor> tensors(GgufHeader header, HuggingFaceConfig config) {
    Map<String, StoredTensor> tensors = new LinkedHashMap<>(header.tensors());
    tensors.remove(DIVISORS);
    TransformerConfig sizes = config.transformer();
    if (config.modelType().equals(LLAMA)) {
      tensors.replaceAll(
          (name, tensor) -> {
            Matcher rows = QUERY_OR_KEY.matcher(name);
            if (!rows.matches()) {
              return tensor;
            }
            return ((GgufTensor) tensor)
                .withAdjacentHeads(
                    rows.group(1).equals("q") ? sizes.nHeads() : sizes.nKeyValueHeads());
          });
    }
    return tensors;
  }

  /** The file's name of a tensor of Hugging Face's. */
  private static String name(String tensor) {
    Matcher parts = TENSOR.matcher(tensor);
    if (!parts.matches() || !NAMES.containsKey(parts.group(2))) {
      throw new IllegalArgumentException("GGUF files have no name for " + tensor);
    }
    String block = parts.group(1) == null ? "" : "blk." + parts.group(1) + ".";
    return block + NAMES.get(parts.group(2)) + "." + parts.group(3);
  }
}
