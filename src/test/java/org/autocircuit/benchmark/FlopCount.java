package org.autocircuit.benchmark;

import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.TransformerConfig;

/**
 * Floating-point operations of the matrix products that a row needs, two for each multiplication
 * with its addition. Norms, activations, softmax and sums are left out: they are bound by memory
 * bandwidth.
 *
 * @param products of activations with weights, once: attention projections, MLPs, unembedding of
 *     the last position
 * @param attention scores and weighted values
 * @param headOutputs each head's own contribution to the residual stream, which only a pass that
 *     records sources needs
 * @param interpolation of every row of every destination: rows × sources × tokens × d_model
 */
record FlopCount(long products, long attention, long headOutputs, long interpolation) {

  static FlopCount of(TransformerConfig config, ModelGraph graph, int batch, int seq) {
    long tokens = (long) batch * seq;
    long heads = (long) config.nHeads() * config.dHead();
    long dModel = config.dModel();
    long projections = 2 * tokens * dModel * (3 * heads + heads);
    long mlp = 2 * tokens * 2 * dModel * config.dMlp();
    long unembedding = 2L * batch * dModel * config.dVocab();
    return new FlopCount(
        config.nLayers() * (projections + mlp) + unembedding,
        4L * config.nLayers() * tokens * seq * heads,
        2L * config.nLayers() * tokens * heads * dModel,
        2L * graph.maskSize() * tokens * dModel);
  }

  long plain() {
    return products + attention;
  }

  /** A plain pass that also keeps what every source put out. */
  long sourceAblations() {
    return plain() + headOutputs;
  }

  /** A patched pass that treats every mask value as if it mattered. */
  long patched() {
    return plain() + headOutputs + interpolation;
  }

  /**
   * Source ablations, a patched pass, and its backward: the gradient of each product with respect
   * to its activations (weights need none), of attention and of the interpolation to both factors.
   */
  long maskGradient() {
    return sourceAblations() + furtherMaskGradient();
  }

  /** The same where the source ablations are at hand. */
  long furtherMaskGradient() {
    long backward = products + 2 * attention + headOutputs + 2 * interpolation;
    return patched() + backward;
  }
}
