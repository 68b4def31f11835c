package org.autocircuit.model;

import java.util.Collections;
import java.util.Map;
import java.util.OptionalInt;
import java.util.SortedMap;
import java.util.TreeMap;
import org.autocircuit.internal.BlockHooks;
import org.autocircuit.internal.Components;

/**
 * Structure of the sparse autoencoders on what MLPs put out. Of an MLP's output {@code x} an
 * autoencoder makes
 *
 * <pre>{@code
 * latents = relu(encode_weight (x - bias) + latent_bias)
 * reconstruction = decode_weight latents + bias
 * }</pre>
 *
 * and the reconstruction takes the place of {@code x} in the residual stream. Each latent is a
 * source of the graph, {@code MLP 0 Latent 5}: its value times its column of {@code decode_weight}.
 * The bias is a constant that no source carries. Hook points of block {@code N} are {@code
 * blocks.N.hook_mlp_out.wrapped_hook} (what goes in), {@code .latents [batch, seq, latents]},
 * {@code .latent_outs [batch, seq, latents, d_model]} and {@code .error}; {@code
 * blocks.N.hook_mlp_out} is what comes out.
 *
 * <p>Weights have the names of the Python original: {@code blocks.N.hook_mlp_out.encode_weight
 * [latents, d_model]}, {@code latent_bias [latents]}, {@code decode_weight [d_model, latents]} and
 * {@code bias [d_model]}. All but the last begin with a dimension {@code [seq_len]} where positions
 * have latents of their own.
 */
public final class AutoencoderConfig {

  private final SortedMap<Integer, Integer> latents;
  private final OptionalInt seqLen;
  private final boolean errorNodes;

  private AutoencoderConfig(
      SortedMap<Integer, Integer> latents, OptionalInt seqLen, boolean errorNodes) {
    if (latents.isEmpty()) {
      throw new IllegalArgumentException("autoencoders: expected at least one, got none");
    }
    for (Map.Entry<Integer, Integer> block : latents.entrySet()) {
      if (block.getKey() < 0 || block.getValue() < 0) {
        throw new IllegalArgumentException(
            "autoencoders: expected blocks and numbers of latents of at least 0, got " + latents);
      }
    }
    if (seqLen.isPresent()) {
      TransformerConfig.requirePositive("autoencoders: seqLen", seqLen.getAsInt());
    }
    this.latents = Collections.unmodifiableSortedMap(latents);
    this.seqLen = seqLen;
    this.errorNodes = errorNodes;
  }

  /**
   * Returns the number of latents of each block's autoencoder, by block; blocks that are no key
   * have none. An autoencoder may have lost all its latents to pruning, and then puts out its bias.
   */
  public SortedMap<Integer, Integer> latents() {
    return latents;
  }

  /**
   * Returns the name of the hook point that an autoencoder of a block stands on, the MLP's output;
   * names of its weights and of its own hook points begin with it and a dot.
   */
  public static String hookName(int block) {
    return hookName(Integer.toString(block));
  }

  /** As {@link #hookName(int)}, with something else in the place of the number. */
  static String hookName(String block) {
    return BlockHooks.of(block, BlockHooks.MLP_OUT);
  }

  /**
   * Returns the number of token positions that have latents of their own, which is then the length
   * of every prompt; empty if the same latents serve all positions.
   */
  public OptionalInt seqLen() {
    return seqLen;
  }

  /**
   * Returns whether what an autoencoder does not reconstruct is a source, too, {@code MLP 0 Error}.
   * The residual stream is then that of the model without autoencoders, and its sources and
   * constants sum to it. (The Python original has no such nodes.)
   */
  public boolean errorNodes() {
    return errorNodes;
  }

  /**
   * Autoencoders whose latents serve all positions, without error nodes.
   *
   * @param latents block to number of latents
   * @throws IllegalArgumentException if there is no autoencoder, or a block or a number of latents
   *     is negative
   */
  public static AutoencoderConfig of(Map<Integer, Integer> latents) {
    return new AutoencoderConfig(new TreeMap<>(latents), OptionalInt.empty(), false);
  }

  /**
   * The same autoencoders with latents of their own at each of so many positions.
   *
   * @throws IllegalArgumentException if the number is not positive
   */
  public AutoencoderConfig withSeqLen(int value) {
    return new AutoencoderConfig(latents, OptionalInt.of(value), errorNodes);
  }

  /** The same autoencoders with or without error nodes. */
  public AutoencoderConfig withErrorNodes(boolean value) {
    return new AutoencoderConfig(latents, seqLen, value);
  }

  /** Returns whether a block has an autoencoder. */
  public boolean has(int block) {
    return latents.containsKey(block);
  }

  /** Throws unless a transformer of these sizes can have the autoencoders. */
  void requireFit(int nLayers, int nCtx, BlockKind blockKind) {
    if (blockKind == BlockKind.ATTENTION_ONLY) {
      throw new IllegalArgumentException(
          "autoencoders: expected a model with MLPs, got an attention-only one");
    }
    if (latents.lastKey() >= nLayers) {
      throw new IllegalArgumentException(
          "autoencoders: expected blocks from 0 to %s, got %s"
              .formatted(nLayers - 1, latents.keySet()));
    }
    if (seqLen.orElse(1) > nCtx) {
      throw new IllegalArgumentException(
          "autoencoders: expected at most %s positions (nCtx), got %s"
              .formatted(nCtx, seqLen.getAsInt()));
    }
  }

  /**
   * Returns whether a weight of a model is one of an autoencoder.
   *
   * @param name its canonical name
   */
  public static boolean hasWeight(String name) {
    return AutoencoderWeights.contains(name);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof AutoencoderConfig that && components().equals(that.components());
  }

  @Override
  public int hashCode() {
    return components().hashCode();
  }

  @Override
  public String toString() {
    return "AutoencoderConfig" + components();
  }

  private Components components() {
    return Components.of("latents", latents, "seqLen", seqLen, "errorNodes", errorNodes);
  }
}
