package org.autocircuit.model;

import java.util.Objects;
import org.autocircuit.internal.Components;

/**
 * Says how a model norms what its attention, its MLPs and its unembedding read. Immutable; what
 * makes one throws an {@code IllegalArgumentException} naming a number that is out of range.
 */
public final class Norm {

  private final Kind kind;
  private final boolean weights;
  private final double eps;
  private final double weightOffset;

  /** Says what is divided by what. */
  public enum Kind {
    /** The deviation from the mean, by its root mean square. */
    LAYER_NORM,
    /** The value itself, by its root mean square. There are no biases. */
    RMS_NORM
  }

  private Norm(Kind kind, boolean weights, double eps, double weightOffset) {
    Objects.requireNonNull(kind, "kind");
    TransformerConfig.requirePositive("eps", eps);
    if (!Double.isFinite(weightOffset) || (!weights && weightOffset != 0)) {
      throw new IllegalArgumentException(
          "weightOffset must be finite, and 0 for a norm without weights, got " + weightOffset);
    }
    this.kind = kind;
    this.weights = weights;
    this.eps = eps;
    this.weightOffset = weightOffset;
  }

  /** Returns what is divided by what. */
  public Kind kind() {
    return kind;
  }

  /**
   * Returns whether each norm has a weight vector of its own (and a LayerNorm a bias); without them
   * they are folded into the projections that follow, TransformerLens's {@code LNPre} and {@code
   * RMSPre}.
   */
  public boolean weights() {
    return weights;
  }

  /** Returns what is added to the mean square before its root is taken. */
  public double eps() {
    return eps;
  }

  /** Returns what is added to the stored weights: 1 for Gemma's, 0 for all others. */
  public double weightOffset() {
    return weightOffset;
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

  @Override
  public boolean equals(Object other) {
    return other instanceof Norm that && components().equals(that.components());
  }

  @Override
  public int hashCode() {
    return components().hashCode();
  }

  @Override
  public String toString() {
    return "Norm" + components();
  }

  private Components components() {
    return Components.of(
        "kind", kind, "weights", weights, "eps", eps, "weightOffset", weightOffset);
  }
}
