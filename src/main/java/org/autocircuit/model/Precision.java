package org.autocircuit.model;

import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.internal.CallScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The floating-point type of a model's weights and activations, source activations and logits
 * included. What is summed over many terms has the type of {@link #accumulation}: masks and what is
 * made of them, noise, gradients with respect to masks, losses, the statistics of norms and the
 * softmax.
 *
 * <p>Products of 16-bit matrices are summed in 32 bits and rounded once. On CPUs without
 * instructions for them (AVX-512 for {@link #BFLOAT16}, any for {@link #FLOAT16}) operands are
 * widened for each product, since LibTorch's own loops are some hundred times slower than its
 * 32-bit products.
 *
 * <p><b>Errors</b> against a model in 64 bits with the same rounded weights, as the length of the
 * difference over the length of what is right, typical and largest on the CPU over small random
 * models of all families:
 *
 * <table>
 *   <caption>Relative errors of 16-bit models</caption>
 *   <tr><th></th><th>{@link #BFLOAT16}</th><th>{@link #FLOAT16}</th></tr>
 *   <tr><td>logits, source outputs</td><td>1 %, 4 %</td><td>0.2 %, 0.6 %</td></tr>
 *   <tr><td>gradients of masks</td><td>3 %, 10 %</td><td>0.3 %, 1 %</td></tr>
 * </table>
 *
 * <p>The tests hold every family to three times the largest. Gradients err more where nearly all of
 * them cancels (37 % and 7 % in one of those models), and where the value of an autoencoder's
 * latent is within rounding of 0, where its slope jumps (15 % in one of them). Masks of 0 give
 * exactly the logits of the unpatched model, in 16 bits too.
 */
public enum Precision {
  /** 32-bit floats. */
  FLOAT32(ScalarType.Float),
  /** 64-bit floats. */
  FLOAT64(ScalarType.Double),
  /** 16-bit floats with the exponents of 32-bit ones: 8 significant bits. */
  BFLOAT16(ScalarType.BFloat16),
  /** 16-bit IEEE floats: 11 significant bits, nothing above 65,504. */
  FLOAT16(ScalarType.Half);

  private final ScalarType scalarType;

  Precision(ScalarType scalarType) {
    this.scalarType = scalarType;
  }

  /** The same type under LibTorch's name. */
  public ScalarType scalarType() {
    return scalarType;
  }

  /**
   * The type in which a model of this precision adds up: {@link #FLOAT32}, and {@link #FLOAT64} for
   * itself.
   */
  public Precision accumulation() {
    return this == FLOAT64 ? FLOAT64 : FLOAT32;
  }

  /**
   * Refuses numbers of a model of this precision that are not finite. Waits for the device; a
   * tensor of the meta device has no numbers.
   *
   * @param name what they are, in the plural
   * @throws NotFiniteException if one is NaN or infinite
   */
  public void requireFinite(String name, Tensor tensor) {
    try (CallScope scope = new CallScope()) {
      if (!tensor.is_meta() && !tensor.isfinite().all().item_bool()) {
        throw notFinite(name);
      }
    }
  }

  /**
   * Says that numbers of a model of this precision are not finite, and what may help.
   *
   * @param name what they are, in the plural
   */
  public NotFiniteException notFinite(String name) {
    String advice =
        switch (this) {
          case FLOAT16 -> "overflow in FLOAT16? try BFLOAT16 or FLOAT32";
          case BFLOAT16 -> "are the weights finite? if they are, try FLOAT32";
          case FLOAT32 -> "are the weights finite? if they are, try FLOAT64";
          case FLOAT64 -> "are the weights finite?";
        };
    return new NotFiniteException("%s are not finite (%s)".formatted(name, advice));
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
        "%s: expected dtype Float, Double, BFloat16 or Half, got %s".formatted(name, type));
  }
}
