package org.autocircuit.checkpoint;

import java.util.Arrays;
import java.util.List;

/**
 * A canonical weight and the tensors of a file that it is made of.
 *
 * @param name canonical name
 * @param source the tensors; two weights with the same source are one tensor
 */
record StoredWeight(String name, TensorSource source) {

  /** A weight that a file holds as it is. */
  static StoredWeight same(String name, String tensor, long... shape) {
    return joined(name, part(tensor, shape));
  }

  /** Vectors one after another. */
  static StoredWeight joined(String name, TensorSource.Part... parts) {
    return new StoredWeight(name, new TensorSource(List.of(parts), false, 0));
  }

  /** Weights {@code [outputs, inputs]} of linear layers, side by side as one {@code [in, out]}. */
  static StoredWeight linear(String name, TensorSource.Part... parts) {
    return new StoredWeight(name, new TensorSource(List.of(parts), true, 0));
  }

  static TensorSource.Part part(String tensor, long... shape) {
    return new TensorSource.Part(tensor, Arrays.stream(shape).boxed().toList());
  }
}
