package org.autocircuit.model;

/**
 * A model small enough to work out by hand: head {@code h} of a block multiplies the residual
 * stream by its weight vector, and the block adds the sum of its heads to the stream. Inputs are
 * floats {@code [batch, seq, d_model]}, the output is the last residual stream.
 *
 * @param nLayers number of blocks
 * @param nHeads heads of a block
 * @param dModel width of the residual stream
 */
public record MicroModelConfig(int nLayers, int nHeads, int dModel) implements ModelConfig {

  /**
   * Checks that every size is positive.
   *
   * @throws IllegalArgumentException naming the sizes
   */
  public MicroModelConfig {
    if (nLayers <= 0 || nHeads <= 0 || dModel <= 0) {
      throw new IllegalArgumentException(
          "nLayers, nHeads and dModel must be positive, got %s, %s and %s"
              .formatted(nLayers, nHeads, dModel));
    }
  }

  /** The model of the original's tests: two heads of width two. */
  public MicroModelConfig(int nLayers) {
    this(nLayers, 2, 2);
  }

  @Override
  public String nativeDescription() {
    return "kind=micro\nn_layers=%s\nn_heads=%s\nd_model=%s\n".formatted(nLayers, nHeads, dModel);
  }
}
