package org.autocircuit.model;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;

/**
 * What {@code config.json} of a Hugging Face GPT-2 folder says, as far as it matters for running
 * the model. Immutable.
 *
 * <p>Sizes must be present ({@code n_layer}, {@code n_embd}, {@code n_head}, {@code vocab_size},
 * and {@code n_positions} or its old name {@code n_ctx}). {@code n_inner} absent or null means
 * {@code 4 * n_embd}; {@code layer_norm_epsilon}, {@code activation_function} and {@code
 * tie_word_embeddings} default to 1e-5, {@code gelu_new} and true, as they do in Hugging Face's own
 * reader. Settings that change the computation in a way that is not supported are errors, never
 * ignored; settings of training and generation (dropout, sampling) are.
 *
 * @param transformer the structure of the model
 * @param tiedEmbedding whether the unembedding is the embedding itself, not a weight of its own
 * @param bosTokenId the token that begins a sequence, if the folder names one
 * @param eosTokenId the token that ends a sequence, if the folder names one
 */
public record HuggingFaceConfig(
    TransformerConfig transformer,
    boolean tiedEmbedding,
    OptionalInt bosTokenId,
    OptionalInt eosTokenId) {

  /** Name of the file inside a model folder. */
  public static final String FILE_NAME = "config.json";

  /**
   * Checks that the model can be described to Hugging Face at all.
   *
   * @throws IllegalArgumentException if {@code nHeads * dHead} is not {@code dModel}, which GPT-2's
   *     configuration cannot express
   */
  public HuggingFaceConfig {
    if ((long) transformer.nHeads() * transformer.dHead() != transformer.dModel()) {
      throw new IllegalArgumentException(
          "a Hugging Face GPT-2 has nHeads * dHead = dModel, got %d * %d and %d"
              .formatted(transformer.nHeads(), transformer.dHead(), transformer.dModel()));
    }
  }

  /** A model with tied embedding and no special tokens. */
  public HuggingFaceConfig(TransformerConfig transformer) {
    this(transformer, true, OptionalInt.empty(), OptionalInt.empty());
  }

  /**
   * Reads {@code config.json}.
   *
   * @param file the file itself, or the model folder that holds it
   * @throws CheckpointException naming the file, the key, the value met and what is supported
   */
  public static HuggingFaceConfig read(Path file) {
    Path json = Files.isDirectory(file) ? file.resolve(FILE_NAME) : file;
    ConfigReader reader = new ConfigReader(json, JsonFiles.readObject(json));
    reader.requireString("model_type", List.of("gpt2"));
    reader.requireUnset("scale_attn_by_inverse_layer_idx", false);
    reader.requireUnset("reorder_and_upcast_attn", false);
    reader.requireUnset("add_cross_attention", false);
    reader.requireUnset("is_encoder_decoder", false);
    reader.requireUnset("scale_attn_weights", true);
    reader.requireAbsent("quantization_config");
    reader.requireNoPrunedHeads();

    int dModel = reader.positiveInt("n_embd");
    int nHeads = reader.positiveInt("n_head");
    if (dModel % nHeads != 0) {
      throw reader.error("n_head", nHeads + "", "a divisor of n_embd, which is " + dModel);
    }
    TransformerConfig.Builder builder =
        TransformerConfig.builder()
            .nLayers(reader.positiveInt("n_layer"))
            .dModel(dModel)
            .nHeads(nHeads)
            .dVocab(reader.positiveInt("vocab_size"))
            .nCtx(reader.positions());
    if (reader.isSet("n_inner")) {
      builder.dMlp(reader.positiveInt("n_inner"));
    } else if (dModel > Integer.MAX_VALUE / 4) {
      throw reader.error("n_embd", dModel + "", "an integer whose fourfold is below 2^31");
    }
    if (reader.isSet("layer_norm_epsilon")) {
      builder.eps(reader.positiveNumber("layer_norm_epsilon"));
    }
    if (reader.isSet("activation_function")) {
      builder.activation(reader.requireString("activation_function", Activation.names()));
    }
    return new HuggingFaceConfig(
        builder.build(),
        reader.flag("tie_word_embeddings", true),
        reader.tokenId("bos_token_id"),
        reader.tokenId("eos_token_id"));
  }

  /**
   * Writes {@code config.json}, replacing the file in one step. {@link #read} gives back an equal
   * configuration, and Hugging Face's {@code GPT2LMHeadModel} reads it too.
   *
   * @param file the file itself, or the existing model folder to put it in
   * @throws CheckpointException if the file cannot be written
   */
  public void write(Path file) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.putArray("architectures").add("GPT2LMHeadModel");
    json.put("model_type", "gpt2");
    json.put("activation_function", transformer.activation().text());
    json.put("n_layer", transformer.nLayers());
    json.put("n_embd", transformer.dModel());
    json.put("n_head", transformer.nHeads());
    json.put("n_inner", transformer.dMlp());
    json.put("n_positions", transformer.nCtx());
    json.put("n_ctx", transformer.nCtx());
    json.put("vocab_size", transformer.dVocab());
    json.put("layer_norm_epsilon", transformer.eps());
    json.put("tie_word_embeddings", tiedEmbedding);
    putTokenId(json, "bos_token_id", bosTokenId);
    putTokenId(json, "eos_token_id", eosTokenId);
    JsonFiles.write(Files.isDirectory(file) ? file.resolve(FILE_NAME) : file, json);
  }

  // Null, not absent: Hugging Face fills an absent id with GPT-2's own 50256.
  private static void putTokenId(ObjectNode json, String key, OptionalInt id) {
    JsonNode value =
        id.isPresent() ? json.numberNode(id.getAsInt()) : JsonNodeFactory.instance.nullNode();
    json.set(key, value);
  }
}
