package org.autocircuit.checkpoint;

import org.autocircuit.model.Precision;

/**
 * Element types of the safetensors format, under the names that the format uses. All are read, so
 * that a file may hold a tensor that nobody asks for; {@link #isFloatingPoint()} says which of them
 * can be weights.
 */
public enum SafetensorsType {
  /** 64-bit IEEE float. */
  F64(8),
  /** 32-bit IEEE float. */
  F32(4),
  /** 16-bit IEEE float. */
  F16(2),
  /** 16-bit float with the exponent range of {@link #F32}. */
  BF16(2),
  /** 64-bit signed integer. */
  I64(8),
  /** 64-bit unsigned integer. */
  U64(8),
  /** 32-bit signed integer. */
  I32(4),
  /** 32-bit unsigned integer. */
  U32(4),
  /** 16-bit signed integer. */
  I16(2),
  /** 16-bit unsigned integer. */
  U16(2),
  /** 8-bit signed integer. */
  I8(1),
  /** 8-bit unsigned integer. */
  U8(1),
  /** Truth value, one byte each. */
  BOOL(1);

  private final int bytes;

  SafetensorsType(int bytes) {
    this.bytes = bytes;
  }

  /** The type of a precision in files. */
  static SafetensorsType of(Precision precision) {
    return switch (precision) {
      case FLOAT64 -> F64;
      case FLOAT32 -> F32;
      case BFLOAT16 -> BF16;
      case FLOAT16 -> F16;
    };
  }

  /** Size of one element in bytes. */
  public int bytes() {
    return bytes;
  }

  /** Returns whether weights can be loaded from this type: F64, F32, F16 and BF16. */
  public boolean isFloatingPoint() {
    return this == F64 || this == F32 || this == F16 || this == BF16;
  }
}
