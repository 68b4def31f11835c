package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.OptionalInt;
import org.autocircuit.internal.Components;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.model.TransformerConfig;

/**
 * Holds what {@code config.json} of a Hugging Face model folder says, as far as it matters for
 * running the model. Immutable.
 *
 * <p>The key {@code model_type} names the family; {@link #MODEL_TYPES} are those that can be read.
 * Each has its own keys, with the defaults of Hugging Face's own reader. Sizes must be present, but
 * for the context, the width of heads and the number of key/value heads, which have defaults, too.
 * Settings that change the computation in a way that is not supported are errors, never ignored;
 * settings of training and generation (dropout, sampling) are.
 *
 * <table>
 * <caption>Families, and what of them is not supported</caption>
 * <tr><th>model_type</th><th>models</th><th>refused</th></tr>
 * <tr><td>gpt2</td><td>GPT-2, DistilGPT-2</td>
 *     <td>scale_attn_by_inverse_layer_idx, cross attention</td></tr>
 * <tr><td>gpt_neox</td><td>Pythia, GPT-NeoX-20B</td><td></td></tr>
 * <tr><td>gptj</td><td>GPT-J-6B</td><td></td></tr>
 * <tr><td>llama</td><td>Llama 2 to 3.3, TinyLlama, SmolLM</td><td>mlp_bias</td></tr>
 * <tr><td>mistral</td><td>Mistral 7B</td><td></td></tr>
 * <tr><td>qwen2</td><td>Qwen 1.5, 2, 2.5</td><td>windows that begin at a later block</td></tr>
 * <tr><td>qwen3</td><td>Qwen 3 (dense)</td><td>windows that begin at a later block</td></tr>
 * <tr><td>gemma2</td><td>Gemma 2</td><td>use_bidirectional_attention, attention_bias</td></tr>
 * </table>
 *
 * <p>In all of them {@code rope_scaling} may be of the types {@code default}, {@code linear} and
 * {@code llama3}, also under the newer name {@code rope_parameters}, and what it lacks is taken
 * from {@code rope_theta} and the like beside it; quantised weights and pruned heads are refused.
 */
public final class HuggingFaceConfig {

  private final String modelType;
  private final TransformerConfig transformer;
  private final boolean tiedEmbedding;
  private final OptionalInt bosTokenId;
  private final List<Integer> eosTokenIds;

  /** Name of the file inside a model folder. */
  public static final String FILE_NAME = "config.json";

  /** Name of the file beside it that may name more tokens that end a sequence. */
  static final String GENERATION_FILE_NAME = "generation_config.json";

  private static final String EOS = "eos_token_id";

  /** The families that can be read and written, by their names in the file. */
  public static final List<String> MODEL_TYPES = ModelFamilies.modelTypes();

  /**
   * Checks that the family can describe the model.
   *
   * @throws IllegalArgumentException if there is no such family, or none of its files would be read
   *     as this model
   */
  HuggingFaceConfig(
      String modelType,
      TransformerConfig transformer,
      boolean tiedEmbedding,
      OptionalInt bosTokenId,
      Collection<Integer> eosTokenIds) {
    if (!ModelFamilies.describes(ModelFamilies.named(modelType), transformer)) {
      throw new IllegalArgumentException(
          "Hugging Face's %s cannot describe %s".formatted(modelType, transformer));
    }
    this.modelType = modelType;
    this.transformer = transformer;
    this.tiedEmbedding = tiedEmbedding;
    this.bosTokenId = bosTokenId;
    this.eosTokenIds =
        eosTokenIds.stream().filter(id -> id < transformer.dVocab()).distinct().toList();
  }

  /** Returns the family, one of {@link #MODEL_TYPES}. */
  public String modelType() {
    return modelType;
  }

  /** Returns the structure of the model. */
  public TransformerConfig transformer() {
    return transformer;
  }

  /**
   * Returns whether the unembedding is the embedding itself, not a weight of its own; a folder that
   * stores another one nevertheless is loaded with that.
   */
  public boolean tiedEmbedding() {
    return tiedEmbedding;
  }

  /** Returns the token that begins a sequence, if the folder names one. */
  public OptionalInt bosTokenId() {
    return bosTokenId;
  }

  /**
   * Returns every token that ends a sequence, each once: those of {@code config.json}, then those
   * that {@code generation_config.json} beside it adds, as files of chat models do; of a GGUF file
   * those that end a sequence, a turn or a message. Those beyond the vocabulary, which some files
   * of small models name, end nothing and are left out.
   */
  public List<Integer> eosTokenIds() {
    return eosTokenIds;
  }

  /**
   * A model with tied embedding and no special tokens, of the first family that can describe it.
   *
   * @throws IllegalArgumentException if none can, for instance no model that is attention-only
   */
  public static HuggingFaceConfig of(TransformerConfig transformer) {
    return new HuggingFaceConfig(
        ModelFamilies.fitting(transformer).modelType(),
        transformer,
        true,
        OptionalInt.empty(),
        List.of());
  }

  /**
   * This model as one of another family.
   *
   * @param value one of {@link #MODEL_TYPES}
   * @throws IllegalArgumentException if there is no such family, or none of its files would be read
   *     as this model
   */
  public HuggingFaceConfig withModelType(String value) {
    return new HuggingFaceConfig(value, transformer, tiedEmbedding, bosTokenId, eosTokenIds);
  }

  /** This model with an unembedding that is the embedding itself, or a weight of its own. */
  public HuggingFaceConfig withTiedEmbedding(boolean value) {
    return new HuggingFaceConfig(modelType, transformer, value, bosTokenId, eosTokenIds);
  }

  /** This model with a token that begins a sequence. */
  public HuggingFaceConfig withBosTokenId(int value) {
    return new HuggingFaceConfig(
        modelType, transformer, tiedEmbedding, OptionalInt.of(value), eosTokenIds);
  }

  /** This model with other tokens that end a sequence. */
  public HuggingFaceConfig withEosTokenIds(Collection<Integer> values) {
    return new HuggingFaceConfig(modelType, transformer, tiedEmbedding, bosTokenId, values);
  }

  /**
   * Reads {@code config.json} and, for tokens that end a sequence, {@code generation_config.json}
   * beside it, where there is one; or the metadata of a GGUF file, which say as much.
   *
   * @param file the file itself, or the model folder that holds {@code config.json}
   * @throws org.autocircuit.exception.CheckpointException naming the file, the key, the value met
   *     and what is supported
   */
  public static HuggingFaceConfig read(Path file) {
    if (GgufHeader.isGguf(file)) {
      return GgufCheckpoint.config(file);
    }
    Path json = Files.isDirectory(file) ? file.resolve(FILE_NAME) : file;
    if (Files.isDirectory(file) && !Files.exists(json)) {
      throw UnreadableFolders.withoutConfig(file);
    }
    ConfigReader reader = new ConfigReader(json, JsonFiles.readObject(json));
    ModelFamily family = ModelFamilies.of(reader);
    return new HuggingFaceConfig(
        family.modelType(),
        family.read(reader),
        reader.flag("tie_word_embeddings", family.tiedByDefault()),
        reader.tokenId("bos_token_id"),
        eosTokenIds(reader, json.resolveSibling(GENERATION_FILE_NAME)));
  }

  private static List<Integer> eosTokenIds(ConfigReader config, Path generation) {
    List<Integer> ids = new ArrayList<>(config.tokenIds(EOS));
    if (Files.exists(generation)) {
      ids.addAll(new ConfigReader(generation, JsonFiles.readObject(generation)).tokenIds(EOS));
    }
    return ids;
  }

  /**
   * Reads a model's configuration and checks that the headers of its weights fit it. No weight is
   * read: this tells in little time whether {@link Checkpoints#load(Path)} can read the model.
   *
   * @param path the model folder, or a GGUF file
   * @throws org.autocircuit.exception.CheckpointException naming what is missing, not supported or
   *     does not fit
   */
  public static HuggingFaceConfig ofModel(Path path) {
    return HuggingFaceCheckpoint.open(path).config();
  }

  /**
   * Writes {@code config.json}, replacing the file in one step. {@link #read} gives back an equal
   * configuration, and Hugging Face's own reader makes the same model of it.
   *
   * @param file the file itself, or the existing model folder to put it in
   * @throws org.autocircuit.exception.CheckpointException if the file cannot be written
   */
  public void write(Path file) {
    ModelFamily family = family();
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.putArray("architectures").add(family.architecture());
    json.put("model_type", modelType);
    family.write(transformer, json);
    json.put("tie_word_embeddings", tiedEmbedding);
    putTokenIds(json, "bos_token_id", bosTokenId.stream().boxed().toList());
    putTokenIds(json, EOS, eosTokenIds);
    JsonFiles.write(Files.isDirectory(file) ? file.resolve(FILE_NAME) : file, json);
  }

  /** Number of values that a model of this structure has learned; a tied embedding counts once. */
  public long nWeights() {
    return family().size(transformer, tiedEmbedding);
  }

  ModelFamily family() {
    return ModelFamilies.named(modelType);
  }

  // Null, not absent: Hugging Face fills an absent id with one of the family's own.
  private static void putTokenIds(ObjectNode json, String key, List<Integer> ids) {
    switch (ids.size()) {
      case 0 -> json.putNull(key);
      case 1 -> json.put(key, ids.get(0));
      default -> ids.forEach(json.withArray(key)::add);
    }
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof HuggingFaceConfig that && components().equals(that.components());
  }

  @Override
  public int hashCode() {
    return components().hashCode();
  }

  @Override
  public String toString() {
    return "HuggingFaceConfig" + components();
  }

  private Components components() {
    return Components.of(
        "modelType",
        modelType,
        "transformer",
        transformer,
        "tiedEmbedding",
        tiedEmbedding,
        "bosTokenId",
        bosTokenId,
        "eosTokenIds",
        eosTokenIds);
  }
}
