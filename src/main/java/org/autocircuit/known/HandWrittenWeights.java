package org.autocircuit.known;

import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Activation;
import org.autocircuit.model.Biases;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.Model;
import org.autocircuit.model.Norm;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.WeightShapes;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Weights of a small transformer, all 0 until they are set. The residual stream is divided into
 * parts that mean something; every token and every position has a dimension of its own.
 *
 * <p>Its norms do nothing: their {@code eps} is so great that what they add it to vanishes beside
 * it, and the weights undo the division. So what a head reads is exactly the sum of what was
 * written, and edges that carry nothing that is read have an effect of exactly 0.
 */
final class HandWrittenWeights {

  /** Width of a head, a power of 4, so that the root that scores are divided by is exact. */
  private static final int D_HEAD = 16;

  private static final double ROOT_EPS = 0x1p30;

  private final TransformerConfig config;
  private final int tokens;
  private final Map<String, float[]> values = new HashMap<>();
  private final Map<String, long[]> shapes;
  private int used;

  HandWrittenWeights(int heads, int mlp, int tokens, int positions, int dModel) {
    this.tokens = tokens;
    config =
        TransformerConfig.builder()
            .nLayers(2)
            .dModel(dModel)
            .nHeads(heads)
            .dHead(D_HEAD)
            .dMlp(Math.max(mlp, 1))
            .dVocab(tokens)
            .nCtx(positions)
            .blockKind(mlp == 0 ? BlockKind.ATTENTION_ONLY : BlockKind.SEQUENTIAL)
            .norm(Norm.rmsNorm(ROOT_EPS * ROOT_EPS))
            .activation(Activation.RELU)
            .biases(Biases.NONE)
            .build();
    shapes = WeightShapes.of(config);
    for (int token = 0; token < tokens; token++) {
      set("embed.W_E", token, token, 1);
    }
    for (int position = 0; position < positions; position++) {
      set("pos_embed.W_pos", position, tokens + position, 1);
    }
    used = tokens + positions;
  }

  /** The dimension of a token. */
  int token(int token) {
    return token;
  }

  /** The dimension of a position. */
  int position(int position) {
    return tokens + position;
  }

  /** The first of some dimensions that nothing has yet. */
  int reserve(int dimensions) {
    int first = used;
    used += dimensions;
    if (used > config.dModel()) {
      throw new IllegalStateException("expected dModel of at least " + used);
    }
    return first;
  }

  /**
   * Makes queries that are so great where they read a dimension.
   *
   * @param channel the one of the head's channels that is written
   * @param gap by how much the score of a key of 1 is greater than that of a key of 0
   */
  void query(int block, int head, int dimension, int channel, double gap) {
    qkv(block, head, 0, dimension, channel, gap * Math.sqrt(D_HEAD));
  }

  void key(int block, int head, int dimension, int channel, double value) {
    qkv(block, head, 1, dimension, channel, value);
  }

  void value(int block, int head, int dimension, int channel, double value) {
    qkv(block, head, 2, dimension, channel, value);
  }

  /** Writes a channel of a head's value to a dimension. */
  void output(int block, int head, int channel, int dimension, double value) {
    set("blocks." + block + ".attn.W_O", head * D_HEAD + channel, dimension, value);
  }

  /** Makes a hidden value of an MLP. */
  void in(int block, int dimension, int hidden, double value) {
    set("blocks." + block + ".mlp.W_in", dimension, hidden, value);
  }

  /** Writes a hidden value of an MLP to a dimension. */
  void out(int block, int hidden, int dimension, double value) {
    set("blocks." + block + ".mlp.W_out", hidden, dimension, value);
  }

  void logit(int token, int dimension, double value) {
    set("unembed.W_U", token, dimension, value);
  }

  /**
   * Gives a head weights at random: it reads tokens, positions and what others of its kind wrote,
   * and writes where only they read.
   */
  void distract(int block, int head, int junk, int junkSize, SplittableRandom random) {
    for (int channel = 0; channel < D_HEAD; channel++) {
      for (int part = 0; part < 3; part++) {
        for (int read = 0; read < tokens + config.nCtx(); read++) {
          qkv(block, head, part, read, channel, small(random));
        }
        for (int read = 0; read < junkSize; read++) {
          qkv(block, head, part, junk + read, channel, small(random));
        }
      }
      for (int write = 0; write < junkSize; write++) {
        output(block, head, channel, junk + write, small(random));
      }
    }
  }

  /** Gives an MLP's hidden values such weights, from the given one on. */
  void distract(int block, int from, int junk, int junkSize, int hidden, SplittableRandom random) {
    for (int unit = from; unit < hidden; unit++) {
      for (int read = 0; read < tokens; read++) {
        in(block, read, unit, small(random));
      }
      for (int i = 0; i < junkSize; i++) {
        in(block, junk + i, unit, small(random));
        out(block, unit, junk + i, small(random));
      }
    }
  }

  /** A sixteenth from −1/4 to 1/4. */
  private static double small(SplittableRandom random) {
    return (random.nextInt(9) - 4) / 16.0;
  }

  /** A model of the weights, to be closed. */
  Model model(String name) {
    try (PointerScope scope = new PointerScope()) {
      Map<String, Tensor> weights = new LinkedHashMap<>();
      shapes.forEach(
          (weight, shape) -> {
            if (!weight.equals(WeightShapes.UNEMBEDDING_BIAS)) {
              float[] given = values.computeIfAbsent(weight, key -> new float[size(shape)]);
              if (weight.endsWith(".w")) {
                Arrays.fill(given, (float) ROOT_EPS);
              }
              weights.put(weight, TensorArrays.of(given, ScalarType.Float, "cpu", shape));
            }
          });
      return Model.of(name, config, weights);
    }
  }

  TransformerConfig config() {
    return config;
  }

  private void qkv(int block, int head, int part, int dimension, int channel, double value) {
    int column = (part * config.nHeads() + head) * D_HEAD + channel;
    set("blocks." + block + ".attn.W_QKV", dimension, column, value);
  }

  private void set(String weight, int row, int column, double value) {
    long[] shape = shapes.get(weight);
    float[] all = values.computeIfAbsent(weight, key -> new float[size(shape)]);
    if (column >= shape[1]) {
      throw new IndexOutOfBoundsException(weight + " has no column " + column);
    }
    all[Math.toIntExact(row * shape[1] + column)] = (float) value;
  }

  private static int size(long[] shape) {
    long size = 1;
    for (long length : shape) {
      size *= length;
    }
    return Math.toIntExact(size);
  }
}
