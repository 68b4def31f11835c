package org.autocircuit.checkpoint;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.LongStream;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.exception.NativeException;
import org.autocircuit.internal.ModelHandle;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A tensor in a file, under the name and with the shape that it has there. */
sealed interface StoredTensor permits WeightFiles.Stored, GgufTensor {

  Path file();

  String name();

  long[] shape();

  /** Returns what messages call the type of the elements. */
  String typeName();

  /** Returns whether weights can be made of it. */
  boolean isFloatingPoint();

  /** The values, contiguous; a tensor of the innermost scope. */
  Tensor read(LoadOptions options);

  /**
   * Elements of a file as a tensor of the innermost scope.
   *
   * @param stored their type in the file
   * @param begin offset of the first byte in the file
   * @param end offset behind the last byte in the file
   * @param dtype the type of the tensor
   * @throws CheckpointException if the file is no longer what its header was checked against; names
   *     the file and the tensor
   */
  default Tensor read(
      ScalarType stored, long begin, long end, long[] shape, ScalarType dtype, String device) {
    LongStream place = LongStream.of(stored.value, begin, end, shape.length);
    try {
      return ModelHandle.readTensors(
              file().toString(),
              LongStream.concat(place, Arrays.stream(shape)).toArray(),
              dtype.value,
              device)
          .get(0);
    } catch (NativeException e) {
      throw new CheckpointException(
          "tensor %s cannot be loaded: %s".formatted(name(), e.getMessage()), e);
    }
  }
}
