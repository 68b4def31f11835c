package org.autocircuit.model;

import java.util.Objects;

/**
 * Says how a model norms what its attention, its MLPs and its unembedding read.
 *
 * @param kind what is divided by what
 * @param weights whether each norm has a weight vector of its own (and a LayerNorm a bias); without
 *     them they are folded into the projections that follow, TransformerLens's {@code LNPre} and
 *     {@code RMSPre}
 * @param eps added to the mean square before its root is taken
 * @param weightOffset added to the stored weights: 1 for Gemma's, 0 for all others
 */
public record Norm(Kind kind, boolean weights, double eps, double weightOffset) {

  /** Says what is divided by what. */
  public enum Kind {
    /** The deviation from the mean, by its root mean square. */
    LAYER_NORM,
    /** The value itself, by its root mean square. There are no biases. */
    RMS_NORM
  }

  /**
   * Checks the numbers.
   *
   * @throws IllegalArgumentException naming the number and its value
   */
  public Norm {
    Objects.requireNonNull(kind, "kind");
    TransformerConfig.requirePositive("eps", eps);
    if (!Double.isFinite(weightOffset) || (!weights && weightOffset != 0)) {
      throw new IllegalArgumentException(
          "weightOffset must be finite, and 0 for a norm without weights, got " + weightOffset);
    }
  }

  /** LayerNorm with weights and biases. */
  public static Norm layerNorm(double eps) {
    return new Norm(Kind.LAYER_NORM, true, eps, 0);
  }

  /** RMSNorm with weights. */
  public static Norm rmsNorm(double eps) {
    return new Norm(Kind.RMS_NORM, true, eps, 0);
  }

  /** This norm without weights and biases. */
  public Norm withoutWeights() {
    return new Norm(kind, false, eps, 0);
  }

  /** This norm with something added to its stored weights. */
  public Norm withWeightOffset(double value) {
    return new Norm(kind, weights, eps, value);
  }

  /** This norm with another {@code eps}. */
  public Norm withEps(double value) {
    return new Norm(kind, weights, value, weightOffset);
  }

  /** Returns whether the norm has biases: a LayerNorm with weights. */
  public boolean hasBias() {
    return weights && kind == Kind.LAYER_NORM;
  }

  String nativeName() {
    return (kind == Kind.LAYER_NORM ? "layer_norm" : "rms_norm") + (weights ? "" : "_pre");
  }
}
