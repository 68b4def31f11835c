package org.autocircuit.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalLong;
import org.autocircuit.checkpoint.HuggingFaceConfig;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.JsonFiles;

/**
 * Holds what the small files beside {@code tokenizer.json} say about special tokens.
 *
 * @param bosToken text of the beginning-of-sequence token
 * @param bosId its id, where only {@code config.json} names one
 * @param addBos whether prompts get one; empty if the folder does not say
 * @param vocabulary how tokens are spelled
 */
record TokenizerSettings(
    Optional<String> bosToken,
    OptionalLong bosId,
    Optional<Boolean> addBos,
    Vocabulary vocabulary) {

  static TokenizerSettings read(Path folder, Path tokenizerJson, byte[] tokenizer) {
    Optional<String> bosToken = Optional.empty();
    Optional<Boolean> addBos = Optional.empty();
    OptionalLong bosId = OptionalLong.empty();
    Path config = folder.resolve("tokenizer_config.json");
    if (Files.exists(config)) {
      ObjectNode json = JsonFiles.readObject(config);
      bosToken = tokenText(config, json, "bos_token");
      addBos = flag(config, json, "add_bos_token");
    }
    Path map = folder.resolve("special_tokens_map.json");
    if (bosToken.isEmpty() && Files.exists(map)) {
      bosToken = tokenText(map, JsonFiles.readObject(map), "bos_token");
    }
    Path model = folder.resolve(HuggingFaceConfig.FILE_NAME);
    if (bosToken.isEmpty() && Files.exists(model)) {
      JsonNode id = JsonFiles.readObject(model).path("bos_token_id");
      if (id.canConvertToLong() && id.isIntegralNumber() && id.longValue() >= 0) {
        bosId = OptionalLong.of(id.longValue());
      }
    }
    return new TokenizerSettings(
        bosToken, bosId, addBos, TokenizerJson.vocabulary(tokenizerJson, tokenizer));
  }

  private static Optional<Boolean> flag(Path file, ObjectNode json, String key) {
    if (!json.hasNonNull(key)) {
      return Optional.empty();
    }
    if (!json.get(key).isBoolean()) {
      throw new CheckpointException(
          "%s: %s is %s, expected true or false"
              .formatted(file, key, JsonFiles.describe(json.get(key))));
    }
    return Optional.of(json.get(key).booleanValue());
  }

  /** A token is written as a string or as an object with its text under {@code content}. */
  private static Optional<String> tokenText(Path file, ObjectNode json, String key) {
    if (!json.hasNonNull(key)) {
      return Optional.empty();
    }
    JsonNode node = json.get(key);
    JsonNode text = node.isObject() ? node.path("content") : node;
    if (!text.isTextual()) {
      throw new CheckpointException(
          "%s: %s is %s, expected a token's text".formatted(file, key, JsonFiles.describe(node)));
    }
    return Optional.of(text.textValue());
  }
}
