package org.autocircuit.model;

/**
 * The structure of a model: everything that fixes its graph and the shapes of its weights, and
 * nothing about their values. Immutable plain data, safe to share between threads.
 */
public sealed interface ModelConfig permits TransformerConfig, MicroModelConfig {

  /** Number of blocks. */
  int nLayers();

  /** Number of attention heads (micro model: of heads) of a block. */
  int nHeads();

  /** Width of the residual stream. */
  int dModel();

  /** The structure as {@code key=value} lines, the form in which it reaches native code. */
  String nativeDescription();
}
