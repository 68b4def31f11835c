package org.autocircuit.checkpoint;

import java.nio.file.Path;
import java.util.Arrays;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A tensor of a GGUF file.
 *
 * @param shape outermost dimension first, as everywhere but in the file
 * @param begin offset of the first byte
 * @param adjacentHeads how many heads have their rows in an order in which rotations turn adjacent
 *     values; they get the order of Hugging Face's, in which pairs are half a head apart. 0: the
 *     rows stay.
 */
@SuppressWarnings("ArrayRecordComponent") // made by the header, read here
record GgufTensor(
    Path file, String name, GgufType type, long[] shape, long begin, int adjacentHeads)
    implements StoredTensor {

  private static final long CHUNK_VALUES = 1 << 22;

  GgufTensor at(long newBegin) {
    return new GgufTensor(file, name, type, shape, newBegin, adjacentHeads);
  }

  GgufTensor withAdjacentHeads(int heads) {
    return new GgufTensor(file, name, type, shape, begin, heads);
  }

  @Override
  public String typeName() {
    return type.name();
  }

  @Override
  public boolean isFloatingPoint() {
    return true;
  }

  @Override
  public Tensor read(LoadOptions options) {
    ScalarType dtype = options.precision().scalarType();
    String device = options.device();
    try (CallScope scope = new CallScope()) {
      Tensor values =
          type == GgufType.Q8_0
              ? dequantised(dtype, device)
              : read(type.stored, begin, begin + type.bytes(shape), shape, dtype, device);
      if (adjacentHeads > 0) {
        long[] pairs = {adjacentHeads, -1, 2};
        values = values.unflatten(0, pairs).transpose(1, 2).reshape(shape);
      }
      return scope.handOut(values);
    }
  }

  /** A part at a time, so that the integers are never all in memory. */
  private Tensor dequantised(ScalarType dtype, String device) {
    long size = Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    Tensor values = TensorArrays.zeros(dtype, device, size);
    for (long i = 0; i < size; i += CHUNK_VALUES) {
      try (CallScope scope = new CallScope()) {
        long n = Math.min(CHUNK_VALUES, size - i);
        long first = begin + type.bytes(i);
        long[] blocks = {n / type.blockValues, type.blockBytes};
        Tensor bytes = read(type.stored, first, first + type.bytes(n), blocks, type.stored, device);
        Tensor scales = bytes.narrow(1, 0, 2).contiguous().view(ScalarType.Half);
        Tensor integers = bytes.narrow(1, 2, type.blockValues).contiguous().view(ScalarType.Char);
        // Exact in single precision: 8 and 11 significant bits.
        Tensor products = integers.to(ScalarType.Float).mul(scales.to(ScalarType.Float));
        values.narrow(0, i, n).copy_(products.flatten());
      }
    }
    return values.view(shape);
  }
}
