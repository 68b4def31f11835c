package org.autocircuit.benchmark;

import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.TransformerConfig;

/**
 * Floating-point operations of the matrix products that a row needs, two for each multiplication
 * with its addition. Norms, activations, softmax and sums are left out: they are bound by memory
 * bandwidth.
 *
 * <p>What follows the queries of the last block is needed at the last position only, of which the
 * logits are. Only {@code plain} counts it at all.
 *
 * @param plain a plain pass through all of the model, whatever its logits need: what ratios are to
 * @param products of activations with weights, once: attention projections, MLPs, unembedding
 * @param attention scores and weighted values
 * @param headOutputs each head's own contribution to the residual stream, which only a pass that
 *     records sources needs
 * @param interpolation of every row of every destination: rows × sources × tokens × d_model
 */
record FlopCount(long plain, long products, long attention, long headOutputs, long interpolation) {

  static FlopCount of(TransformerConfig config, ModelGraph graph, int batch, int seq) {
    long tokens = (long) batch * seq;
    long heads = (long) config.nHeads() * config.dHead();
    long dModel = config.dModel();
    long before = config.nLayers() - 1L;
    // For each token.
    long projection = 2 * dModel * heads; // of queries, keys or values, or of outputs
    long mlp = 4 * dModel * config.dMlp();
    long attention = 4L * seq * heads;
    long block = 4 * projection + mlp;
    long unembedding = 2L * batch * dModel * config.dVocab();
    return new FlopCount(
        config.nLayers() * tokens * (block + attention) + unembedding,
        tokens * (before * block + 2 * projection) + batch * (2 * projection + mlp) + unembedding,
        (before * tokens + batch) * attention,
        (before * tokens + batch) * projection,
        2 * dModel * masks(graph, config.nLayers(), tokens, batch));
  }

  /** Returns how many times a mask value is read. */
  private static long masks(ModelGraph graph, int layers, long tokens, long batch) {
    Pattern atLast = Pattern.compile("A%1$d\\.\\d+\\.Q|MLP %1$d|Resid End".formatted(layers - 1));
    return IntStream.range(0, graph.nEdges())
        .mapToLong(
            edge -> atLast.matcher(graph.edge(edge).dest().name()).matches() ? batch : tokens)
        .sum();
  }

  /** A plain pass for the logits of the last position. */
  long plainAtLast() {
    return products + attention;
  }

  /** The same that also keeps what every source put out. */
  long sourceAblations() {
    return plainAtLast() + headOutputs;
  }

  /** A patched pass that treats every mask value as if it mattered. */
  long patched() {
    return plainAtLast() + headOutputs + interpolation;
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
