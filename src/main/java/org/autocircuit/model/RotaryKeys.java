package org.autocircuit.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Rotary positions in {@code config.json}: the base and the share of a head that is turned as keys
 * of the file, and the frequencies' scaling in {@code rope_scaling}; newer files have all of it in
 * {@code rope_parameters}.
 */
final class RotaryKeys {

  private static final double BASE = 10_000;
  private static final String LINEAR = "linear";
  private static final String LLAMA3 = "llama3";

  private RotaryKeys() {}

  /** Heads that are turned as a whole. */
  static RotaryPositions read(ConfigReader reader, int dHead) {
    return read(reader, dHead, "rope_theta", "partial_rotary_factor", 1);
  }

  /** GPT-NeoX's, a quarter of the head by default. */
  static RotaryPositions readPartial(ConfigReader reader, int dHead) {
    return read(reader, dHead, "rotary_emb_base", "rotary_pct", 0.25);
  }

  private static RotaryPositions read(
      ConfigReader reader, int dHead, String baseKey, String shareKey, double usualShare) {
    Optional<ConfigReader> parameters = reader.object("rope_parameters");
    ConfigReader from = parameters.orElse(reader);
    String key = parameters.isPresent() ? "partial_rotary_factor" : shareKey;
    double share = from.positiveNumber(key, usualShare);
    int dims = (int) (dHead * share);
    if (share > 1 || dims < 2 || dims % 2 != 0 || (usualShare == 1 && share != 1)) {
      throw from.error(
          key,
          share,
          usualShare == 1
              ? "1, of a head of even width, here " + dHead
              : "a share that turns an even number of a head's " + dHead + " values");
    }
    return RotaryPositions.halves(dims)
        .withBase(from.positiveNumber(parameters.isPresent() ? "rope_theta" : baseKey, BASE))
        .withScaling(scaling(parameters.or(() -> reader.object("rope_scaling"))));
  }

  private static RotaryPositions.Scaling scaling(Optional<ConfigReader> object) {
    if (object.isEmpty()) {
      return new RotaryPositions.None();
    }
    ConfigReader reader = object.get();
    // The older name counts only where the current one is absent.
    String key = reader.isSet("type") && !reader.isSet("rope_type") ? "type" : "rope_type";
    String type =
        reader.isSet(key)
            ? reader.requireString(key, List.of("default", LINEAR, LLAMA3))
            : "default";
    List<String> known =
        new ArrayList<>(List.of("rope_type", "type", "rope_theta", "partial_rotary_factor"));
    if (type.equals(LINEAR)) {
      known.add("factor");
      reader.requireOnly(known);
      return new RotaryPositions.Linear(reader.positiveNumber("factor"));
    }
    if (type.equals(LLAMA3)) {
      known.addAll(
          List.of(
              "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"));
      reader.requireOnly(known);
      double low = reader.positiveNumber("low_freq_factor");
      double high = reader.positiveNumber("high_freq_factor");
      if (high <= low) {
        throw reader.error("high_freq_factor", high, "a number above low_freq_factor, " + low);
      }
      return new RotaryPositions.Llama3(
          reader.positiveNumber("factor"),
          low,
          high,
          reader.positiveInt("original_max_position_embeddings"));
    }
    reader.requireOnly(known);
    return new RotaryPositions.None();
  }

  static void write(RotaryPositions rotary, ObjectNode json) {
    json.put("rope_theta", rotary.base());
    writeScaling(rotary.scaling(), json);
  }

  static void writePartial(RotaryPositions rotary, int dHead, ObjectNode json) {
    double share = rotary.dims() / (double) dHead;
    json.put("rotary_pct", (int) (dHead * share) < rotary.dims() ? Math.nextUp(share) : share);
    json.put("rotary_emb_base", rotary.base());
    writeScaling(rotary.scaling(), json);
  }

  private static void writeScaling(RotaryPositions.Scaling scaling, ObjectNode json) {
    if (scaling instanceof RotaryPositions.Linear linear) {
      json.putObject("rope_scaling").put("rope_type", LINEAR).put("factor", linear.factor());
    } else if (scaling instanceof RotaryPositions.Llama3 llama3) {
      json.putObject("rope_scaling")
          .put("rope_type", LLAMA3)
          .put("factor", llama3.factor())
          .put("low_freq_factor", llama3.lowFreqFactor())
          .put("high_freq_factor", llama3.highFreqFactor())
          .put("original_max_position_embeddings", llama3.originalNCtx());
    }
  }
}
