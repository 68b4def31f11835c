package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Makes GGUF files of Hugging Face folders as llama.cpp's converter does. */
public final class GgufFiles {

  public static final int F32 = 0;
  static final int F16 = 1;
  static final int Q8_0 = 8;
  static final int F64 = 28;
  static final int BF16 = 30;

  private static final int BLOCK = 32;

  private GgufFiles() {}

  /**
   * Writes the file of a folder whose weights are fp64.
   *
   * @param type of the matrices; vectors, and with Q8_0 rows that are no whole blocks, are F32
   */
  public static void convert(Path folder, Path file, int type) {
    write(file, converted(folder, type));
  }

  static void write(Path file, GgufWriter writer) {
    try {
      Files.write(file, writer.bytes());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static GgufWriter converted(Path folder, int type) {
    ObjectNode config = JsonFiles.readObject(folder.resolve("config.json"));
    GgufWriter writer = metadata(config);
    boolean llama = config.get("model_type").asText().equals("llama");
    tensors(folder)
        .forEach(
            (name, tensor) -> {
              Tensor values = tensor;
              if (llama && name.matches(".*\\.[qk]_proj\\..*")) {
                String heads =
                    name.contains(".q_proj") ? "num_attention_heads" : "num_key_value_heads";
                values = adjacent(tensor, config.get(heads).asInt());
              }
              boolean matrix = tensor.dim() == 2;
              boolean whole = type != Q8_0 || tensor.size(-1) % BLOCK == 0;
              int stored = type == F64 || (matrix && whole) ? type : F32;
              writer.tensor(ggufName(name), stored, tensor.shape(), encoded(values, stored));
            });
    return writer;
  }

  private static GgufWriter metadata(ObjectNode config) {
    String type = config.get("model_type").asText();
    GgufWriter writer =
        new GgufWriter()
            .put("general.architecture", type)
            .put("general.name", "random")
            .put("general.file_type", 1);
    Map.of(
            "block_count", "num_hidden_layers",
            "context_length", "max_position_embeddings",
            "embedding_length", "hidden_size",
            "feed_forward_length", "intermediate_size",
            "attention.head_count", "num_attention_heads",
            "attention.head_count_kv", "num_key_value_heads",
            "attention.key_length", "head_dim",
            "vocab_size", "vocab_size")
        .forEach(
            (gguf, key) -> {
              if (config.hasNonNull(key)) {
                writer.put(type + "." + gguf, config.get(key).asInt());
              }
            });
    writer.put(
        type + ".attention.layer_norm_rms_epsilon", (float) config.get("rms_norm_eps").asDouble());
    writer.put(type + ".rope.freq_base", (float) config.get("rope_theta").asDouble());
    if (config.path("rope_scaling").path("type").asText().equals("linear")) {
      writer.put(type + ".rope.scaling.type", "linear");
      writer.put(
          type + ".rope.scaling.factor",
          (float) config.get("rope_scaling").get("factor").asDouble());
    }
    return writer
        .put("tokenizer.ggml.model", "gpt2")
        .put("tokenizer.ggml.tokens", Collections.nCopies(5, "token"))
        .put("tokenizer.ggml.bos_token_id", 3)
        .put("tokenizer.chat_template", "x".repeat(5000));
  }

  private static String ggufName(String name) {
    return name.replace("model.layers.", "blk.")
        .replace("input_layernorm", "attn_norm")
        .replace("post_attention_layernorm", "ffn_norm")
        .replace("self_attn.o_proj", "attn_output")
        .replace("self_attn.", "attn_")
        .replace("mlp.", "ffn_")
        .replace("_proj", "")
        .replace("model.embed_tokens", "token_embd")
        .replace("model.norm", "output_norm")
        .replace("lm_head", "output");
  }

  /** Rows of each head in the order 0, n/2, 1, n/2 + 1, … */
  private static Tensor adjacent(Tensor rows, int heads) {
    int n = (int) rows.size(0) / heads;
    long[] order = new long[(int) rows.size(0)];
    for (int row = 0; row < order.length; row++) {
      int inHead = row % n;
      order[row] = (long) row - inHead + inHead / 2 + (inHead % 2 == 0 ? 0 : n / 2);
    }
    return rows.index_select(0, TensorArrays.of(order, "cpu", order.length));
  }

  private static byte[] encoded(Tensor values, int type) {
    return switch (type) {
      case F32 -> bytes(values, ScalarType.Float);
      case F16 -> bytes(values, ScalarType.Half);
      case BF16 -> bytes(values, ScalarType.BFloat16);
      case F64 -> bytes(values, ScalarType.Double);
      default -> quantised(TensorArrays.doubles(values));
    };
  }

  private static byte[] bytes(Tensor values, ScalarType type) {
    Tensor plain = values.to(type).contiguous();
    byte[] bytes = new byte[(int) plain.nbytes()];
    new BytePointer(plain.data_ptr()).get(bytes);
    return bytes;
  }

  /** Blocks of 32: the scale that makes the greatest 127, in half precision, then the integers. */
  private static byte[] quantised(double[] values) {
    ByteBuffer bytes = ByteBuffer.allocate(values.length / BLOCK * (BLOCK + 2));
    for (int block = 0; block < values.length; block += BLOCK) {
      double greatest = 0;
      for (int i = block; i < block + BLOCK; i++) {
        greatest = Math.max(greatest, Math.abs(values[i]));
      }
      double scale = greatest / 127;
      bytes.put(
          bytes(
              TensorArrays.of(new double[] {scale}, ScalarType.Double, "cpu", 1), ScalarType.Half));
      for (int i = block; i < block + BLOCK; i++) {
        bytes.put((byte) Math.round(scale == 0 ? 0 : values[i] / scale));
      }
    }
    return bytes.array();
  }

  /** Tensors of a folder in fp64. */
  static Map<String, Tensor> tensors(Path folder) {
    SafetensorsFile file = SafetensorsFile.open(folder.resolve("model.safetensors"));
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    try {
      ByteBuffer content =
          ByteBuffer.wrap(Files.readAllBytes(file.path())).order(ByteOrder.LITTLE_ENDIAN);
      for (TensorEntry entry : file.entries().values()) {
        double[] values = new double[(int) (entry.end() - entry.begin()) / 8];
        content.position((int) entry.begin());
        content.asDoubleBuffer().get(values);
        tensors.put(entry.name(), TensorArrays.of(values, ScalarType.Double, "cpu", entry.shape()));
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return tensors;
  }

  /** Returns what is left of values that are stored as Q8_0. */
  static Tensor throughQ8(Tensor values) {
    if (values.dim() != 2 || values.size(-1) % BLOCK != 0) {
      return values.to(ScalarType.Float).to(ScalarType.Double);
    }
    ByteBuffer bytes = ByteBuffer.wrap(quantised(TensorArrays.doubles(values)));
    double[] left = new double[(int) values.numel()];
    for (int block = 0; block < left.length; block += BLOCK) {
      int half = Short.toUnsignedInt(Short.reverseBytes(bytes.getShort()));
      double scale = Math.scalb(1024.0 + half % 1024, half / 1024 - 25);
      for (int i = block; i < block + BLOCK; i++) {
        left[i] = scale * bytes.get();
      }
    }
    return TensorArrays.of(left, ScalarType.Double, "cpu", values.shape());
  }
}
