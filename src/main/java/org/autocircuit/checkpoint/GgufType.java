package org.autocircuit.checkpoint;

import java.nio.file.Path;
import java.util.Arrays;
import org.autocircuit.exception.CheckpointException;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Types of elements in a GGUF file that can be read. */
enum GgufType {
  F32(0, 1, 4, ScalarType.Float),
  F16(1, 1, 2, ScalarType.Half),
  /** Blocks of 32 values: an fp16 scale, then as many 8-bit integers. */
  Q8_0(8, 32, 34, ScalarType.Byte),
  F64(28, 1, 8, ScalarType.Double),
  BF16(30, 1, 2, ScalarType.BFloat16);

  /** Names of all types by their codes, those that cannot be read, too; some codes are unused. */
  private static final String[] NAMES =
      ("F32 F16 Q4_0 Q4_1 Q4_2 Q4_3 Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS"
              + " IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS I8 I16 I32 I64 F64 IQ1_M BF16"
              + " Q4_0_4_4 Q4_0_4_8 Q4_0_8_8 TQ1_0 TQ2_0 IQ4_NL_4_4 IQ4_NL_4_8 IQ4_NL_8_8 MXFP4")
          .split(" ");

  private final int code;
  final int blockValues;
  final int blockBytes;

  /** The type that LibTorch reads the bytes as. */
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
                    ("%s: tensor %s is %s, expected one of %s; llama.cpp's llama-quantize makes"
                            + " Q8_0 or F16 of it (with --allow-requantize)")
                        .formatted(file, tensor, name(code), Arrays.toString(values()))));
  }

  private static String name(long code) {
    return code >= 0 && code < NAMES.length
        ? NAMES[(int) code]
        : "of GGML's type " + Long.toUnsignedString(code);
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
