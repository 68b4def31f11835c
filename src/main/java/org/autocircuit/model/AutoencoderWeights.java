package org.autocircuit.model;

import java.util.Arrays;
import java.util.Map;
import java.util.OptionalInt;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.autocircuit.internal.Arguments;
import org.bytedeco.pytorch.Tensor;

/** The weights of sparse autoencoders: their names and shapes. */
final class AutoencoderWeights {

  private static final String ENCODE = "encode_weight";
  private static final Pattern NAME =
      Pattern.compile(
          AutoencoderConfig.hookName("(\\d{1,9})").replace(".", "\\.")
              + "\\.(encode_weight|latent_bias|decode_weight|bias)");

  private AutoencoderWeights() {}

  /** Returns whether a weight of a model is one of an autoencoder. */
  static boolean contains(String name) {
    return NAME.matcher(name).matches();
  }

  /**
   * The structure that weights have by their names and the shapes of the {@code encode_weight}s;
   * without error nodes.
   *
   * @throws IllegalArgumentException if there is no weight, one has another name, or an {@code
   *     encode_weight} is missing or has not two or three dimensions
   */
  static AutoencoderConfig config(Map<String, Tensor> weights) {
    SortedMap<Integer, Integer> latents = new TreeMap<>();
    OptionalInt seqLen = OptionalInt.empty();
    for (String weight : weights.keySet()) {
      int block = block(weight);
      if (latents.containsKey(block)) {
        continue;
      }
      String name = name(Integer.toString(block), ENCODE);
      long[] shape = encodeShape(name, weights.get(name));
      OptionalInt positions =
          shape.length == 3 ? OptionalInt.of((int) shape[0]) : OptionalInt.empty();
      if (!latents.isEmpty() && !positions.equals(seqLen)) {
        throw new IllegalArgumentException(
            "weight %s: expected the positions of the other blocks, %s, got shape %s"
                .formatted(name, seqLen, Arrays.toString(shape)));
      }
      seqLen = positions;
      latents.put(block, (int) shape[shape.length - 2]);
    }
    AutoencoderConfig config = AutoencoderConfig.of(latents);
    return seqLen.isPresent() ? config.withSeqLen(seqLen.getAsInt()) : config;
  }

  private static int block(String weight) {
    Matcher matcher = NAME.matcher(weight);
    if (!matcher.matches()) {
      throw new IllegalArgumentException(
          "unknown autoencoder weight '%s', expected %s, latent_bias, decode_weight and bias"
              .formatted(weight, name("N", ENCODE)));
    }
    return Integer.parseInt(matcher.group(1));
  }

  private static long[] encodeShape(String name, Tensor weight) {
    if (weight == null) {
      throw new IllegalArgumentException("weight " + name + " is missing");
    }
    long[] shape = Arguments.live("weight " + name, weight).shape();
    boolean sized = Arrays.stream(shape).allMatch(size -> size <= Integer.MAX_VALUE);
    if (!sized || (shape.length != 2 && shape.length != 3)) {
      throw new IllegalArgumentException(
          "weight %s: expected shape ([seq_len]) [latents, d_model], got %s"
              .formatted(name, Arrays.toString(shape)));
    }
    return shape;
  }

  private static String name(String block, String weight) {
    return AutoencoderConfig.hookName(block) + "." + weight;
  }
}
