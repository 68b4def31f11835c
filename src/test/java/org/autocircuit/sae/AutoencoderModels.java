package org.autocircuit.sae;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Random;
import java.util.stream.IntStream;
import org.autocircuit.RandomModels;
import org.autocircuit.TestDevice;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** Small models with random autoencoders. */
public final class AutoencoderModels {

  private AutoencoderModels() {}

  /** Weights of an autoencoder on each of some blocks. Goes to the innermost scope. */
  public static Map<String, Tensor> weights(
      List<Integer> blocks,
      int dModel,
      int latents,
      OptionalInt seqLen,
      Precision precision,
      long seed) {
    Random random = new Random(seed);
    Map<String, Tensor> weights = new LinkedHashMap<>();
    for (int block : blocks) {
      String prefix = "blocks." + block + ".hook_mlp_out.";
      weights.put(prefix + "bias", random(random, precision, OptionalInt.empty(), dModel));
      weights.put(prefix + "latent_bias", random(random, precision, seqLen, latents));
      weights.put(prefix + "encode_weight", random(random, precision, seqLen, latents, dModel));
      weights.put(prefix + "decode_weight", random(random, precision, seqLen, dModel, latents));
    }
    return weights;
  }

  private static Tensor random(
      Random random, Precision precision, OptionalInt seqLen, int... shape) {
    long[] sizes = new long[seqLen.isPresent() ? shape.length + 1 : shape.length];
    int size = 1;
    for (int dim = 0; dim < sizes.length; dim++) {
      int from = dim - (sizes.length - shape.length);
      sizes[dim] = from < 0 ? seqLen.getAsInt() : shape[from];
      size *= (int) sizes[dim];
    }
    return TensorArrays.of(
        RandomModels.normal(size, 0.4, random), precision.scalarType(), TestDevice.NAME, sizes);
  }

  /** A random model with an autoencoder on every block. */
  public static Model model(
      TransformerConfig config, int latents, Precision precision, boolean errorNodes, long seed) {
    List<Integer> blocks = IntStream.range(0, config.nLayers()).boxed().toList();
    try (PointerScope scope = new PointerScope();
        Model plain = RandomModels.model(config, precision, seed)) {
      return plain.withAutoencoders(
          weights(blocks, config.dModel(), latents, OptionalInt.empty(), precision, seed + 1),
          errorNodes);
    }
  }
}
