package org.autocircuit.golden;

import java.util.Arrays;

/**
 * A tensor of the reference data. Exactly one of the arrays is set: {@code doubles} for floating
 * types (float32 widened), {@code longs} for int64. Row-major.
 */
@SuppressWarnings("ArrayRecordComponent") // a carrier, never compared
public record GoldenTensor(String dtype, long[] shape, double[] doubles, long[] longs) {

  /** Number of elements. */
  public int size() {
    return doubles != null ? doubles.length : longs.length;
  }

  /** Returns whether the elements are floating-point numbers. */
  public boolean isFloating() {
    return doubles != null;
  }

  /** The floating-point elements in single precision. */
  public float[] floats() {
    float[] floats = new float[doubles.length];
    for (int i = 0; i < floats.length; i++) {
      floats[i] = (float) doubles[i];
    }
    return floats;
  }

  /** The type and the shape. */
  @Override
  public String toString() {
    return dtype + Arrays.toString(shape);
  }
}
