package org.autocircuit.model;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The floating-point type that a model computes in: its weights, activations and masks. */
public enum Precision {
  /** 32-bit floats. */
  FLOAT32(ScalarType.Float, SafetensorsType.F32),
  /** 64-bit floats. */
  FLOAT64(ScalarType.Double, SafetensorsType.F64);

  private final ScalarType scalarType;
  private final SafetensorsType safetensorsType;

  Precision(ScalarType scalarType, SafetensorsType safetensorsType) {
    this.scalarType = scalarType;
    this.safetensorsType = safetensorsType;
  }

  /** The same type under LibTorch's name. */
  public ScalarType scalarType() {
    return scalarType;
  }

  /** The same type under the name it has in files. */
  SafetensorsType safetensorsType() {
    return safetensorsType;
  }

  /**
   * The precision of a tensor.
   *
   * @param name what the message calls the tensor
   * @throws IllegalArgumentException if the tensor is of no type that a model can have
   */
  static Precision of(String name, Tensor tensor) {
    ScalarType type = tensor.scalar_type().intern();
    for (Precision precision : values()) {
      if (precision.scalarType == type) {
        return precision;
      }
    }
    throw new IllegalArgumentException(
        "%s: expected dtype Float or Double, got %s".formatted(name, type));
  }
}
