package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.WeightShapes;

/**
 * A family of Hugging Face models: what its {@code config.json} says, and where its files keep the
 * canonical weights. One class each; {@link ModelFamilies} finds them by {@code model_type}.
 */
abstract sealed class ModelFamily permits Gpt2Family, GptNeoxFamily, GptJFamily, LlamaFamily {

  private final String modelType;
  private final String architecture;
  private final String prefix;
  private final boolean tiedByDefault;

  /**
   * A family.
   *
   * @param prefix of the names of all tensors but the unembedding's; files of the bare model, which
   *     has no unembedding, lack it
   * @param tiedByDefault whether a folder that does not say so ties its embedding
   */
  ModelFamily(String modelType, String architecture, String prefix, boolean tiedByDefault) {
    this.modelType = modelType;
    this.architecture = architecture;
    this.prefix = prefix;
    this.tiedByDefault = tiedByDefault;
  }

  final String modelType() {
    return modelType;
  }

  /** The class that Hugging Face makes of a folder. */
  final String architecture() {
    return architecture;
  }

  final String prefix() {
    return prefix;
  }

  final boolean tiedByDefault() {
    return tiedByDefault;
  }

  /** The structure that a file describes; whatever would change it and is not supported throws. */
  abstract TransformerConfig read(ConfigReader reader);

  /**
   * Writes the keys that {@link #read} reads. What the family cannot express is left out; reading
   * back tells.
   */
  abstract void write(TransformerConfig config, ObjectNode json);

  /** The weights around the blocks, which come first and last. */
  abstract List<StoredWeight> embeddings(TransformerConfig config);

  /** The weights of a block. */
  abstract List<StoredWeight> block(TransformerConfig config, int block);

  /** The final norm, and biases of an unembedding. */
  abstract List<StoredWeight> ending(TransformerConfig config);

  /** The unembedding's name where it is not tied. */
  String head() {
    return "lm_head.weight";
  }

  /** The embedding's name. */
  final String embedding(TransformerConfig config) {
    return embeddings(config).get(0).source().parts().get(0).tensor();
  }

  /** Returns whether a tensor is no weight and may be left alone: a buffer of old versions. */
  boolean isBuffer(String tensor) {
    return tensor.endsWith(".rotary_emb.inv_freq");
  }

  /** All weights in the order in which they are saved. A tied unembedding is the embedding. */
  final List<StoredWeight> weights(TransformerConfig config, boolean tied) {
    List<StoredWeight> weights = new ArrayList<>(embeddings(config));
    TensorSource embedding = weights.get(0).source();
    for (int block = 0; block < config.nLayers(); block++) {
      weights.addAll(block(config, block));
    }
    weights.addAll(ending(config));
    weights.add(
        tied
            ? new StoredWeight(WeightShapes.UNEMBEDDING, embedding)
            : StoredWeight.same(
                WeightShapes.UNEMBEDDING, head(), config.dVocab(), config.dModel()));
    return Collections.unmodifiableList(weights);
  }

  /** Number of values in all weights, without listing the blocks, which are alike. */
  final long size(TransformerConfig config, boolean tied) {
    List<StoredWeight> rest = weights(config.toBuilder().nLayers(1).build(), tied);
    long block = size(block(config, 0));
    return Math.addExact(size(rest), Math.multiplyExact(config.nLayers() - 1L, block));
  }

  private static long size(List<StoredWeight> weights) {
    return weights.stream()
        .map(StoredWeight::source)
        .distinct()
        .mapToLong(TensorSource::size)
        .reduce(0, Math::addExact);
  }

  /** Refuses settings that no family supports. */
  static void requireUsual(ConfigReader reader) {
    reader.requireUnset("add_cross_attention", false);
    reader.requireUnset("is_encoder_decoder", false);
    reader.requireNoQuantisation();
    reader.requireNoPrunedHeads();
  }

  /** A norm's weights and, where norms have them, biases. */
  static List<StoredWeight> norm(String name, String tensor, TransformerConfig config, int size) {
    List<StoredWeight> weights = new ArrayList<>();
    weights.add(StoredWeight.same(name + ".w", tensor + ".weight", size));
    if (config.norm().hasBias()) {
      weights.add(StoredWeight.same(name + ".b", tensor + ".bias", size));
    }
    return weights;
  }

  /** Width of the heads that is the model's width shared out. */
  static int evenHeads(ConfigReader reader, String widthKey, String headsKey) {
    int dModel = reader.positiveInt(widthKey);
    int nHeads = reader.positiveInt(headsKey);
    if (dModel % nHeads != 0) {
      throw reader.error(
          headsKey, nHeads, "a divisor of %s, which is %s".formatted(widthKey, dModel));
    }
    return dModel / nHeads;
  }

  /** Width of an MLP that is four times the model's unless it is given. */
  static int mlpWidth(ConfigReader reader, String key, String widthKey) {
    int dModel = reader.positiveInt(widthKey);
    if (!reader.isSet(key) && dModel > Integer.MAX_VALUE / 4) {
      throw reader.error(widthKey, dModel, "an integer whose fourfold is below 2^31");
    }
    return reader.isSet(key) ? reader.positiveInt(key) : 4 * dModel;
  }
}
