package org.autocircuit.generate;

import java.util.Arrays;
import java.util.Objects;

/**
 * A vector that is added to the value at a hook point, behind all that reads, patches or records it
 * there; see {@code ForwardRequest.withAdded}. Immutable.
 */
public final class Steering {

  private final String hookName;
  private final float[] vector;
  private final double factor;
  private final Span span;

  private Steering(String hookName, float[] vector, double factor, Span span) {
    this.hookName = hookName;
    this.vector = vector;
    this.factor = factor;
    this.span = span;
  }

  /**
   * A vector added once, at all positions.
   *
   * @param hookName of a value as wide as the residual stream: {@code blocks.0.hook_resid_pre},
   *     {@code hook_resid_mid}, {@code hook_resid_post}, {@code hook_attn_out}, {@code
   *     hook_mlp_out}
   * @param vector {@code [d_model]}; copied
   * @throws IllegalArgumentException if a value is not finite
   */
  public static Steering of(String hookName, float[] vector) {
    Objects.requireNonNull(hookName, "hookName");
    for (float value : vector) {
      requireFinite("steering vector", value);
    }
    return new Steering(hookName, vector.clone(), 1, Span.ALL);
  }

  /** This, multiplied; a negative factor steers away. */
  public Steering times(double value) {
    requireFinite("steering factor", value);
    return new Steering(hookName, vector, factor * value, span);
  }

  /** This, at some positions only. */
  public Steering at(Span value) {
    return new Steering(hookName, vector, factor, Objects.requireNonNull(value, "span"));
  }

  /** The hook point at which it is added. */
  public String hookName() {
    return hookName;
  }

  /** The number of its values. */
  public int size() {
    return vector.length;
  }

  /** The positions at which it is added. */
  public Span span() {
    return span;
  }

  /** The vector times its factor, {@code [d_model]}: a copy. */
  public float[] values() {
    float[] values = new float[vector.length];
    addTo(values);
    return values;
  }

  void addTo(float[] sum) {
    for (int i = 0; i < sum.length; i++) {
      sum[i] += (float) (factor * vector[i]);
    }
  }

  private static void requireFinite(String name, double value) {
    if (!Double.isFinite(value)) {
      throw new IllegalArgumentException(name + ": expected finite values, got " + value);
    }
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Steering that
        && hookName.equals(that.hookName)
        && Arrays.equals(vector, that.vector)
        && factor == that.factor
        && span.equals(that.span);
  }

  @Override
  public int hashCode() {
    return Objects.hash(hookName, Arrays.hashCode(vector), factor, span);
  }

  @Override
  public String toString() {
    return "Steering[%s times %s at %s]".formatted(hookName, factor, span);
  }
}
