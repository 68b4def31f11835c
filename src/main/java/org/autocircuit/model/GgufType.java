package org.autocircuit.model;

import java.nio.file.Path;
import java.util.Arrays;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Types of elements in a GGUF file that can be read. */
enum GgufType {
  F32(0, 1, 4, ScalarType.Float),
  F16(1, 1, 2, ScalarType.Half),
  /** Blocks of 32 values: an fp16 scale, then as many 8-bit integers. */
  Q8_0(8, 32, 34, ScalarType.Byte),
  F64(28, 1, 8, ScalarType.Double),
  BF16(30, 1, 2, ScalarType.BFloat16);

  private final int code;
  final int blockValues;
  final int blockBytes;

  /** What the bytes are to LibTorch. */
  final ScalarType stored;

  GgufType(int code, int blockValues, int blockBytes, ScalarType stored) {
    this.code = code;
    this.blockValues = blockValues;
    this.blockBytes = blockBytes;
    this.stored = stored;
  }

  static GgufType of(Path file, String tensor, long code) {
    return Arrays.stream(values())
        .filter(type -> type.code == code)
        .findFirst()
        .orElseThrow(
            () ->
                new CheckpointException(
                    "%s: tensor %s is of GGML's type %d, supported are %s"
                        .formatted(file, tensor, code, Arrays.toString(values()))));
  }

  /**
   * Bytes of a tensor.
   *
   * @throws ArithmeticException if they are too many to count
   */
  long bytes(long... shape) {
    long values = Arrays.stream(shape).reduce(1, Math::multiplyExact);
    return Math.multiplyExact(values / blockValues, blockBytes);
  }
}
