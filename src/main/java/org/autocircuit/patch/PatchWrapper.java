package org.autocircuit.patch;

import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.PatchableHandle.Patch;
import org.bytedeco.pytorch.Tensor;

/**
 * The patching arithmetic of a single hook point, for tests and for models of one's own. It runs
 * the code of the reference executor, which every faster one is compared with. All functions take
 * tensors of any device and are differentiable in them. Where activations are of 16 bits, masks and
 * uniforms are 32-bit floats, and sums are rounded once. Shapes and types that do not fit are
 * refused by native code. Returned tensors belong to the caller's innermost {@code PointerScope}.
 */
public final class PatchWrapper {

  /**
   * A mask and what is done to it.
   *
   * @param values {@code [n]}, {@code [rows, n]}, {@code [seq, n]} or {@code [seq, rows, n]}, or
   *     one of these with a leading batch dimension
   * @param hasRows whether the values have a dimension for heads
   * @param hasSeq whether the values have a dimension for positions
   * @param maskFn applied to the values
   * @param dropout probability of dropping a value, in [0, 1)
   * @param noise of samples and dropout; given uniforms have the shape of the values behind a batch
   *     dimension
   */
  public record Mask(
      Tensor values, boolean hasRows, boolean hasSeq, MaskFn maskFn, double dropout, Noise noise) {

    /**
     * Checks the noise.
     *
     * @throws IllegalArgumentException if neither the mask function nor dropout takes it
     */
    public Mask {
      noise.requireUse(maskFn, dropout);
    }

    /** A mask that is applied as it is. */
    public static Mask of(Tensor values, boolean hasRows, boolean hasSeq) {
      return new Mask(values, hasRows, hasSeq, MaskFn.NONE, 0, Noise.DEFAULT);
    }

    private boolean batched() {
      return Arguments.live("mask", values).dim() == 2 + (hasRows ? 1 : 0) + (hasSeq ? 1 : 0);
    }

    private Patch patch() {
      Arguments.live("mask", values);
      if (noise instanceof Noise.Uniforms given) {
        Tensor uniforms = Arguments.live("uniforms", given.tensor());
        return new Patch(null, null, values, null, NativeCodes.of(maskFn), dropout, 0, 0, uniforms);
      }
      Noise.Seeded seeded = (Noise.Seeded) noise;
      return new Patch(
          null,
          null,
          values,
          null,
          NativeCodes.of(maskFn),
          dropout,
          seeded.seed(),
          seeded.step(),
          null);
    }
  }

  private PatchWrapper() {}

  /**
   * Patches the input of a destination: {@code arg0 + sum over sources of f(mask) * (srcActs -
   * currSrcOuts)}.
   *
   * @param arg0 {@code [batch, seq, d_model]} or {@code [batch, seq, rows, d_model]}
   * @param srcActs what the sources are patched with, {@code [n, batch, seq, d_model]}
   * @param currSrcOuts what the sources put out in this pass, {@code [n, batch, seq, d_model]}
   * @return {@code arg0}'s shape, with a rows dimension if the mask has one
   * @throws org.autocircuit.exception.NativeException if shapes, types or devices do not fit
   */
  public static Tensor interpolate(Tensor arg0, Tensor srcActs, Tensor currSrcOuts, Mask mask) {
    Arguments.live("arg0", arg0);
    Arguments.live("srcActs", srcActs);
    Arguments.live("currSrcOuts", currSrcOuts);
    return NativeMath.interpolate(
        arg0, srcActs, currSrcOuts, mask.hasRows(), mask.hasSeq(), mask.patch());
  }

  /**
   * Writes what a source module put out into its rows of a buffer.
   *
   * @param output {@code [batch, seq, d_model]} or {@code [batch, seq, rows, d_model]}
   * @param currSrcOuts {@code [n_srcs, batch, seq, d_model]}; written to
   * @param srcStart the module's first row
   * @throws org.autocircuit.exception.NativeException if shapes, types or devices do not fit
   */
  public static void recordSource(Tensor output, Tensor currSrcOuts, int srcStart) {
    NativeMath.recordSource(
        Arguments.live("output", output), Arguments.live("currSrcOuts", currSrcOuts), srcStart);
  }

  /**
   * The mask values that {@link #interpolate} would use.
   *
   * @param batch number of prompts, each with samples of its own
   * @return {@code [batch, ...]} if each prompt has its own values, else the mask's shape
   * @throws IllegalArgumentException if the mask has values for another number of prompts
   */
  public static Tensor applyMaskFn(Mask mask, int batch) {
    boolean batched = mask.batched();
    if (batched && mask.values().size(0) != batch) {
      throw new IllegalArgumentException(
          "mask: expected values for %s prompts, got %s".formatted(batch, mask.values().size(0)));
    }
    return NativeMath.applyMaskFn(batched, batch, mask.patch());
  }
}
