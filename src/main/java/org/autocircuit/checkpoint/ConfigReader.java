package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.BiPredicate;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.model.Activation;

/** Typed access to {@code config.json}; every complaint has the same form. */
final class ConfigReader {
  private final Path file;
  private final ObjectNode json;
  // The object's place in the file, with a dot at the end.
  private final String place;

  ConfigReader(Path file, ObjectNode json) {
    this(file, json, "");
  }

  private ConfigReader(Path file, ObjectNode json, String place) {
    this.file = file;
    this.json = json;
    this.place = place;
  }

  Path file() {
    return file;
  }

  CheckpointException error(String key, Object got, String expected) {
    return new CheckpointException(
        "%s: %s%s is %s, expected %s".formatted(file, place, key, got, expected));
  }

  private CheckpointException error(String key, JsonNode got, String expected) {
    return got == null
        ? new CheckpointException(
            "%s: %s%s is missing, expected %s".formatted(file, place, key, expected))
        : error(key, JsonFiles.describe(got), expected);
  }

  /** Returns whether the key is there, if only with null. */
  boolean has(String key) {
    return json.has(key);
  }

  boolean isEmpty() {
    return json.isEmpty();
  }

  boolean isNull(String key) {
    return has(key) && !isSet(key);
  }

  boolean isZero(String key) {
    return json.path(key).isNumber() && json.get(key).doubleValue() == 0;
  }

  boolean isSet(String key) {
    return json.hasNonNull(key);
  }

  int positiveInt(String key) {
    JsonNode node = json.get(key);
    if (node == null
        || !node.isIntegralNumber()
        || !node.canConvertToInt()
        || node.intValue() < 1) {
      throw error(key, node, "a positive integer");
    }
    return node.intValue();
  }

  int naturalInt(String key, int absent) {
    JsonNode node = json.get(key);
    return node != null && node.isInt() && node.intValue() == 0 ? 0 : positiveInt(key, absent);
  }

  /** The default stands for an absent key and for null. */
  int positiveInt(String key, int absent) {
    return isSet(key) ? positiveInt(key) : absent;
  }

  double positiveNumber(String key, double absent) {
    return isSet(key) ? positiveNumber(key) : absent;
  }

  double positiveNumber(String key) {
    JsonNode node = json.get(key);
    if (node == null
        || !node.isNumber()
        || !(node.doubleValue() > 0)
        || Double.isInfinite(node.doubleValue())) {
      throw error(key, node, "a positive number");
    }
    return node.doubleValue();
  }

  boolean flag(String key, boolean absent) {
    JsonNode node = json.get(key);
    if (node == null || node.isNull()) {
      return absent;
    }
    if (!node.isBoolean()) {
      throw error(key, node, "true or false");
    }
    return node.booleanValue();
  }

  /** The old name counts only where the current one is absent. */
  int positions(int absent) {
    return positiveInt("n_positions", positiveInt("n_ctx", absent));
  }

  /** A token id, unless it is absent or null; of several the first. */
  OptionalInt tokenId(String key) {
    return tokenIds(key).stream().mapToInt(Integer::intValue).findFirst();
  }

  /** Token ids: none, one, or several, as Llama 3 has them for the end of a sequence. */
  List<Integer> tokenIds(String key) {
    JsonNode node = json.path(key);
    if (node.isMissingNode() || node.isNull()) {
      return List.of();
    }
    List<Integer> ids = new ArrayList<>();
    for (JsonNode id : node.isArray() ? node : List.of(node)) {
      if (!id.isIntegralNumber() || !id.canConvertToInt() || id.intValue() < 0) {
        throw notTokens(key, node);
      }
      ids.add(id.intValue());
    }
    if (ids.isEmpty()) {
      throw notTokens(key, node);
    }
    return ids;
  }

  private CheckpointException notTokens(String key, JsonNode got) {
    return error(key, got, "a token id, several of them or null");
  }

  /** An object inside this one, unless it is absent or null. */
  Optional<ConfigReader> object(String key) {
    if (!isSet(key)) {
      return Optional.empty();
    }
    if (!(json.get(key) instanceof ObjectNode object)) {
      throw error(key, json.get(key), "an object or null");
    }
    return Optional.of(new ConfigReader(file, object, place + key + "."));
  }

  List<String> strings(String key) {
    List<String> strings = new ArrayList<>();
    if (!json.path(key).isArray()) {
      throw error(key, json.get(key), "an array of strings");
    }
    for (JsonNode node : json.get(key)) {
      if (!node.isTextual()) {
        throw error(key, node, "an array of strings");
      }
      strings.add(node.textValue());
    }
    return strings;
  }

  /** Hugging Face's name of an activation. */
  Activation activation(String key, Activation absent) {
    if (!isSet(key)) {
      return absent;
    }
    JsonNode node = json.get(key);
    try {
      return Activation.named(node.isTextual() ? node.textValue() : "");
    } catch (IllegalArgumentException e) {
      throw error(key, node, "one of %s (nothing else is supported)".formatted(Activation.names()));
    }
  }

  /** For objects of which an unknown key changes the computation, unless it is null. */
  void requireOnly(List<String> known) {
    requireOnly(known, (key, value) -> false);
  }

  /** As {@link #requireOnly(List)}; some keys change nothing with some values. */
  void requireOnly(List<String> known, BiPredicate<String, JsonNode> harmless) {
    json.fieldNames()
        .forEachRemaining(
            key -> {
              if (isSet(key) && !known.contains(key) && !harmless.test(key, json.get(key))) {
                throw error(
                    key, json.get(key), "no such key (only %s are supported)".formatted(known));
              }
            });
  }

  String requireString(String key, List<String> supported) {
    JsonNode node = json.get(key);
    String expected = supported.size() == 1 ? supported.get(0) : "one of " + supported;
    if (node == null || !node.isTextual() || !supported.contains(node.textValue())) {
      throw error(key, node, expected + " (nothing else is supported)");
    }
    return node.textValue();
  }

  /** For switches that change the computation: only the usual setting is supported. */
  void requireUnset(String key, boolean usual) {
    if (flag(key, usual) != usual) {
      throw error(key, json.get(key), usual + " (nothing else is supported)");
    }
  }

  void requireNoQuantisation() {
    for (String key : List.of("quantization_config", "compression_config", "quantization")) {
      if (isSet(key)) {
        throw error(key, json.get(key), UnreadableFolders.quantisation(json.get(key)));
      }
    }
  }

  void requireNoPrunedHeads() {
    JsonNode pruned = json.get("pruned_heads");
    if (pruned != null && !pruned.isNull() && !(pruned.isContainerNode() && pruned.isEmpty())) {
      throw error("pruned_heads", pruned, "no pruned heads (they are not supported)");
    }
  }
}
