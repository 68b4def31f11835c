package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import org.autocircuit.internal.TensorArrays;
import org.bytedeco.pytorch.Tensor;

/** Comparisons of tensors. */
public final class Close {

  private Close() {}

  /** Equal shapes, and values that differ by no more than a part of 1 plus the expected value. */
  public static void assertClose(String what, Tensor actual, Tensor expected, double tolerance) {
    assertThat(actual.shape()).as("shape of " + what).isEqualTo(expected.shape());
    assertClose(what, TensorArrays.doubles(actual), TensorArrays.doubles(expected), tolerance);
  }

  public static void assertClose(
      String what, double[] actual, double[] expected, double tolerance) {
    assertThat(actual).as(what).hasSameSizeAs(expected);
    for (int i = 0; i < expected.length; i++) {
      if (!(Math.abs(actual[i] - expected[i]) <= tolerance * (1 + Math.abs(expected[i])))) {
        throw new AssertionError(
            "%s[%s]: expected %s, got %s".formatted(what, i, expected[i], actual[i]));
      }
    }
  }

  /** That two tensors differ somewhere: a comparison that cannot fail proves nothing. */
  public static void assertDiffer(String what, Tensor a, Tensor b) {
    double[] left = TensorArrays.doubles(a);
    double[] right = TensorArrays.doubles(b);
    for (int i = 0; i < left.length; i++) {
      if (Math.abs(left[i] - right[i]) > 1e-3) {
        return;
      }
    }
    throw new AssertionError(what + " do not differ");
  }
}
