package org.autocircuit.text;

import java.util.Arrays;
import java.util.Objects;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/**
 * Says what a model computed at one hook point, as floats in row-major order. Plain Java data,
 * nothing to close. Immutable, safe to share between threads.
 */
public final class ActivationValues {

  private final int[] shape;
  private final float[] values;

  private ActivationValues(int[] shape, float[] values) {
    this.shape = shape;
    this.values = values;
  }

  /**
   * Copies a tensor of any type and device, rounded to single precision; it stays the caller's.
   *
   * @throws IllegalArgumentException if it has more values than a Java array holds
   */
  public static ActivationValues of(Tensor tensor) {
    try (PointerScope temporaries = new PointerScope()) {
      int[] shape = new int[Math.toIntExact(tensor.dim())];
      Arrays.setAll(shape, dimension -> Math.toIntExact(tensor.size(dimension)));
      return new ActivationValues(shape, TensorArrays.floats(tensor));
    }
  }

  /** The size of each dimension, for instance {@code [batch, seq, d_model]}; a copy. */
  public int[] shape() {
    return shape.clone();
  }

  /** A copy of the values in row-major order. */
  public float[] toArray() {
    return values.clone();
  }

  /**
   * Returns one value.
   *
   * @param index one for each dimension
   * @throws IllegalArgumentException if the indices are not as many as the dimensions
   * @throws IndexOutOfBoundsException if an index is not inside its dimension
   */
  public float get(int... index) {
    if (index.length != shape.length) {
      throw new IllegalArgumentException(
          "index: expected one for each dimension of %s, got %s"
              .formatted(Arrays.toString(shape), Arrays.toString(index)));
    }
    int at = 0;
    for (int dimension = 0; dimension < index.length; dimension++) {
      at = at * shape[dimension] + Objects.checkIndex(index[dimension], shape[dimension]);
    }
    return values[at];
  }

  /** The shape. */
  @Override
  public String toString() {
    return "activations " + Arrays.toString(shape);
  }
}
