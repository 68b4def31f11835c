package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.autocircuit.model.RotaryPositions;

/**
 * Rotary positions in {@code config.json}: the base and the share of a head that is turned as keys
 * of the file, and the frequencies' scaling in {@code rope_scaling}; newer files have all of it in
 * {@code rope_parameters}.
 */
final class RotaryKeys {

  private static final double BASE = 10_000;
  private static final String THETA = "rope_theta";
  private static final String SHARE = "partial_rotary_factor";
  private static final String ORIGINAL = "original_max_position_embeddings";
  private static final String LINEAR = "linear";
  private static final String LLAMA3 = "llama3";

  private RotaryKeys() {}

  /** Heads that are turned as a whole. */
  static RotaryPositions read(ConfigReader reader, int dHead, int nCtx) {
    return read(reader, dHead, nCtx, THETA, SHARE, 1);
  }

  /** GPT-NeoX's, a quarter of the head by default. */
  static RotaryPositions readPartial(ConfigReader reader, int dHead, int nCtx) {
    return read(reader, dHead, nCtx, "rotary_emb_base", "rotary_pct", 0.25);
  }

  /**
   * The object wins where it and the file name the same setting; what it lacks is the file's. Of
   * two objects the older one wins, as in Hugging Face's reader.
   */
  private static RotaryPositions read(
      ConfigReader reader,
      int dHead,
      int nCtx,
      String baseKey,
      String shareKey,
      double usualShare) {
    Optional<ConfigReader> object =
        reader
            .object("rope_scaling")
            .filter(scaling -> !scaling.isEmpty())
            .or(() -> reader.object("rope_parameters"));
    boolean ownShare = object.isPresent() && object.get().isSet(SHARE);
    ConfigReader from = ownShare ? object.get() : reader;
    String key = ownShare ? SHARE : shareKey;
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
    double base = reader.positiveNumber(baseKey, BASE);
    return RotaryPositions.halves(dims)
        .withBase(object.isPresent() ? object.get().positiveNumber(THETA, base) : base)
        .withScaling(
            object.isPresent() ? scaling(object.get(), reader, nCtx) : new RotaryPositions.None());
  }

  private static RotaryPositions.Scaling scaling(ConfigReader reader, ConfigReader file, int nCtx) {
    // The older name counts only where the current one is absent.
    String key = reader.isSet("type") && !reader.isSet("rope_type") ? "type" : "rope_type";
    String type =
        reader.isSet(key)
            ? reader.requireString(key, List.of("default", LINEAR, LLAMA3))
            : "default";
    List<String> known = new ArrayList<>(List.of("rope_type", "type", THETA, SHARE));
    if (type.equals(LINEAR)) {
      known.add("factor");
      reader.requireOnly(known);
      return new RotaryPositions.Linear(reader.positiveNumber("factor"));
    }
    if (type.equals(LLAMA3)) {
      known.addAll(List.of("factor", "low_freq_factor", "high_freq_factor", ORIGINAL));
      reader.requireOnly(known);
      double low = reader.positiveNumber("low_freq_factor");
      double high = reader.positiveNumber("high_freq_factor");
      if (high <= low) {
        throw reader.error("high_freq_factor", high, "a number above low_freq_factor, " + low);
      }
      // Here it is the file's own that wins.
      int original = file.positiveInt(ORIGINAL, reader.positiveInt(ORIGINAL, nCtx));
      return new RotaryPositions.Llama3(reader.positiveNumber("factor"), low, high, original);
    }
    reader.requireOnly(known);
    return new RotaryPositions.None();
  }

  static void write(RotaryPositions rotary, ObjectNode json) {
    json.put(THETA, rotary.base());
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
          .put(ORIGINAL, llama3.originalNCtx());
    }
  }
}
