package org.autocircuit.checkpoint;

import java.util.Objects;
import org.autocircuit.internal.Components;
import org.autocircuit.model.Precision;

/**
 * Says how a model folder is loaded. Immutable; {@link #DEFAULT} with {@code with} methods makes
 * others.
 */
public final class LoadOptions {

  private final Precision precision;
  private final String device;

  /** 32-bit floats on the CPU. */
  public static final LoadOptions DEFAULT = new LoadOptions(Precision.FLOAT32, "cpu");

  private LoadOptions(Precision precision, String device) {
    Objects.requireNonNull(precision, "precision");
    Objects.requireNonNull(device, "device");
    this.precision = precision;
    this.device = device;
  }

  /** Returns the type to compute in, whatever the type in the file (fp64, fp32, fp16, bf16). */
  public Precision precision() {
    return precision;
  }

  /**
   * Returns where the weights go, under LibTorch's name: {@code cpu}, {@code cuda}, {@code cuda:1},
   * or {@code meta} for shapes without data.
   */
  public String device() {
    return device;
  }

  /** These options with another precision. */
  public LoadOptions withPrecision(Precision value) {
    return new LoadOptions(value, device);
  }

  /** These options with another device. */
  public LoadOptions withDevice(String value) {
    return new LoadOptions(precision, value);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof LoadOptions that && components().equals(that.components());
  }

  @Override
  public int hashCode() {
    return components().hashCode();
  }

  @Override
  public String toString() {
    return "LoadOptions" + components();
  }

  private Components components() {
    return Components.of("precision", precision, "device", device);
  }
}
