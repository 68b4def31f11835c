package org.autocircuit.checkpoint;

import java.util.List;
import org.autocircuit.internal.CallScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * Says how a weight comes from the tensors of a file: they are joined along their first dimension,
 * heads that keep their query, key and value together are sorted, and what belongs to a linear
 * layer is transposed.
 *
 * @param parts the tensors, in order
 * @param transposed whether they are {@code [outputs, inputs]}, which becomes {@code [in, out]}
 * @param fusedHeads how many heads have rows (q, k, v) one head after another, as in GPT-NeoX; they
 *     become all q, all k, all v. 0: the rows stay.
 */
record TensorSource(List<Part> parts, boolean transposed, int fusedHeads) {

  /**
   * A tensor of a file.
   *
   * @param tensor name, with the family's prefix
   * @param shape sizes of the dimensions
   */
  record Part(String tensor, List<Long> shape) {
    long[] shapeArray() {
      return shape.stream().mapToLong(Long::longValue).toArray();
    }

    long size() {
      return shape.stream().reduce(1L, Math::multiplyExact);
    }
  }

  /** The same rows with the heads' queries, keys and values sorted. */
  TensorSource withFusedHeads(int heads) {
    return new TensorSource(parts, transposed, heads);
  }

  /** Number of elements. */
  long size() {
    return parts.stream().mapToLong(Part::size).sum();
  }

  /** The weight, contiguous; a tensor of the innermost scope, shared if there is nothing to do. */
  Tensor assemble(List<Tensor> tensors) {
    try (CallScope scope = new CallScope()) {
      Tensor rows =
          tensors.size() == 1
              ? tensors.get(0)
              : torch.cat(new TensorVector(tensors.toArray(Tensor[]::new)), 0);
      if (fusedHeads > 0) {
        rows = swapped(rows, fusedHeads, 3);
      }
      return scope.handOut(new Tensor((transposed ? rows.t() : rows).contiguous()));
    }
  }

  /** The inverse: one of the tensors that make up a weight, in the innermost scope. */
  Tensor take(Tensor weight, int index) {
    try (CallScope scope = new CallScope()) {
      Tensor rows = transposed ? weight.t() : weight;
      if (fusedHeads > 0) {
        rows = swapped(rows, 3, fusedHeads);
      }
      long begin = 0;
      for (Part part : parts.subList(0, index)) {
        begin += part.shape().get(0);
      }
      return scope.handOut(rows.narrow(0, begin, parts.get(index).shape().get(0)).contiguous());
    }
  }

  /** Rows {@code [outer, inner, n]} as {@code [inner, outer, n]}. */
  private static Tensor swapped(Tensor rows, long outer, long inner) {
    return rows.unflatten(0, new long[] {outer, inner, -1}).transpose(0, 1).reshape(rows.shape());
  }
}
