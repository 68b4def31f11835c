package org.autocircuit.model;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;

/** Typed access to {@code config.json}; every complaint has the same form. */
final class ConfigReader {
  private final Path file;
  private final ObjectNode json;

  ConfigReader(Path file, ObjectNode json) {
    this.file = file;
    this.json = json;
  }

  CheckpointException error(String key, String got, String expected) {
    return new CheckpointException("%s: %s is %s, expected %s".formatted(file, key, got, expected));
  }

  private CheckpointException error(String key, JsonNode got, String expected) {
    return got == null
        ? new CheckpointException("%s: %s is missing, expected %s".formatted(file, key, expected))
        : error(key, JsonFiles.describe(got), expected);
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

  double positiveNumber(String key) {
    JsonNode node = json.get(key);
    if (!node.isNumber() || !(node.doubleValue() > 0) || Double.isInfinite(node.doubleValue())) {
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

  /** The old name counts only where the current one is absent, as in Hugging Face's reader. */
  int positions() {
    return positiveInt(isSet("n_ctx") && !isSet("n_positions") ? "n_ctx" : "n_positions");
  }

  OptionalInt tokenId(String key) {
    JsonNode node = json.get(key);
    if (node == null || node.isNull()) {
      return OptionalInt.empty();
    }
    if (!node.isIntegralNumber() || !node.canConvertToInt() || node.intValue() < 0) {
      throw error(key, node, "a token id or null");
    }
    return OptionalInt.of(node.intValue());
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

  void requireAbsent(String key) {
    if (isSet(key)) {
      throw error(key, json.get(key), "no such key (quantised checkpoints are not supported)");
    }
  }

  void requireNoPrunedHeads() {
    JsonNode pruned = json.get("pruned_heads");
    if (pruned != null && !pruned.isNull() && !(pruned.isContainerNode() && pruned.isEmpty())) {
      throw error("pruned_heads", pruned, "no pruned heads (they are not supported)");
    }
  }
}
