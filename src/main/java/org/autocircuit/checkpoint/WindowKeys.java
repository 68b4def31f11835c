package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.model.AttentionScores;
import org.autocircuit.model.TransformerConfig;

/** Which blocks' attention is confined to a window, in {@code config.json}. */
final class WindowKeys {

  private static final String TYPES = "layer_types";
  private static final String SLIDING = "sliding_attention";
  private static final String FULL = "full_attention";

  private WindowKeys() {}

  /** Windows where {@code layer_types} says so; where it says nothing, in every so many blocks. */
  static AttentionScores read(
      ConfigReader reader, AttentionScores scores, int window, int usualEvery) {
    List<Boolean> windows = new ArrayList<>();
    int nLayers = reader.positiveInt("num_hidden_layers");
    if (!reader.isSet(TYPES)) {
      return scores.withWindow(window, usualEvery);
    }
    for (String type : reader.strings(TYPES)) {
      if (!type.equals(SLIDING) && !type.equals(FULL)) {
        throw reader.error(
            TYPES, "[… \"%s\" …]".formatted(type), "only %s and %s".formatted(SLIDING, FULL));
      }
      windows.add(type.equals(SLIDING));
    }
    if (windows.size() != nLayers) {
      throw reader.error(
          TYPES,
          "an array of " + windows.size(),
          "as many as num_hidden_layers, which is " + nLayers);
    }
    if (!windows.contains(true)) {
      return scores;
    }
    for (int every = 1; every <= nLayers; every++) {
      // The usual pattern first, since a model of one block fits them all.
      int candidate = every == 1 ? usualEvery : every == usualEvery ? 1 : every;
      if (fits(windows, candidate)) {
        return scores.withWindow(window, candidate);
      }
    }
    throw reader.error(
        TYPES,
        "another pattern",
        "%s in the first and then in every so many blocks".formatted(SLIDING));
  }

  private static boolean fits(List<Boolean> windows, int every) {
    for (int block = 0; block < windows.size(); block++) {
      if (windows.get(block) != (block % every == 0)) {
        return false;
      }
    }
    return true;
  }

  /** Writes the keys that {@link #read} reads; the types only if they are unusual. */
  static void write(TransformerConfig config, int usualEvery, ObjectNode json) {
    AttentionScores scores = config.attentionScores();
    scores.window().ifPresent(window -> json.put("sliding_window", window));
    if (scores.window().isPresent() && scores.windowEvery() == usualEvery) {
      return;
    }
    ArrayNode types = json.putArray(TYPES);
    for (int block = 0; block < config.nLayers(); block++) {
      boolean sliding = scores.window().isPresent() && block % scores.windowEvery() == 0;
      types.add(sliding ? SLIDING : FULL);
    }
  }

  /** Qwen has windows only where a switch is on, from block {@code max_window_layers} on. */
  static AttentionScores readQwen(ConfigReader reader, AttentionScores scores) {
    if (!reader.flag("use_sliding_window", false) || reader.isNull("sliding_window")) {
      return scores;
    }
    int window = reader.positiveInt("sliding_window", 4096);
    if (reader.isSet(TYPES)) {
      return read(reader, scores, window, 1);
    }
    int nLayers = reader.positiveInt("num_hidden_layers");
    int first = reader.naturalInt("max_window_layers", 28);
    if (first > 0 && first < nLayers) {
      throw reader.error(
          "max_window_layers",
          first,
          "0 or at least num_hidden_layers, which is %s (windows in only the last blocks are not"
                  .formatted(nLayers)
              + " supported)");
    }
    return first == 0 ? scores.withWindow(window) : scores;
  }

  static void writeQwen(TransformerConfig config, ObjectNode json) {
    boolean windows = config.attentionScores().window().isPresent();
    json.put("use_sliding_window", windows);
    if (windows) {
      json.put("max_window_layers", 0);
      write(config, 1, json);
    }
  }
}
