package org.autocircuit.checkpoint;

import java.util.Objects;
import org.autocircuit.model.Precision;

/**
 * Says how a model folder is loaded.
 *
 * @param precision the type to compute in, whatever the type in the file (fp64, fp32, fp16, bf16)
 * @param device where the weights go, under LibTorch's name: {@code cpu}, {@code cuda}, {@code
 *     cuda:1}, or {@code meta} for shapes without data
 */
public record LoadOptions(Precision precision, String device) {

  /** 32-bit floats on the CPU. */
  public static final LoadOptions DEFAULT = new LoadOptions(Precision.FLOAT32, "cpu");

  /** Checks that nothing is {@code null}. */
  public LoadOptions {
    Objects.requireNonNull(precision, "precision");
    Objects.requireNonNull(device, "device");
  }

  /** These options with another precision. */
  public LoadOptions withPrecision(Precision value) {
    return new LoadOptions(value, device);
  }

  /** These options with another device. */
  public LoadOptions withDevice(String value) {
    return new LoadOptions(precision, value);
  }
}
