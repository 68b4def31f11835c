package org.autocircuit.patch;

import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.Components;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.Patch;
import org.bytedeco.pytorch.Tensor;

/**
 * The patching arithmetic of a single hook point, for tests and for models of one's own. It runs
 * the code of the reference executor, which every faster one is compared with. All functions take
 * tensors of any device and are differentiable in them. Where activations are of 16 bits, masks and
 * uniforms are 32-bit floats, and sums are rounded once. Shapes and types that do not fit are
 * refused by native code. Returned tensors belong to the caller's innermost {@code PointerScope}.
 */
public final class PatchWrapper {

  /** A mask and what is done to it. */
  public static final class Mask {

    private final Tensor values;
    private final boolean hasRows;
    private final boolean hasSeq;
    private final MaskFn maskFn;
    private final double dropout;
    private final Noise noise;

    private Mask(
        Tensor values,
        boolean hasRows,
        boolean hasSeq,
        MaskFn maskFn,
        double dropout,
        Noise noise) {
      noise.requireUse(maskFn, dropout);
      this.values = values;
      this.hasRows = hasRows;
      this.hasSeq = hasSeq;
      this.maskFn = maskFn;
      this.dropout = dropout;
      this.noise = noise;
    }

    /**
     * Returns the values {@code [n]}, {@code [rows, n]}, {@code [seq, n]} or {@code [seq, rows,
     * n]}, or one of these with a leading batch dimension.
     */
    public Tensor values() {
      return values;
    }

    /** Returns whether the values have a dimension for heads. */
    public boolean hasRows() {
      return hasRows;
    }

    /** Returns whether the values have a dimension for positions. */
    public boolean hasSeq() {
      return hasSeq;
    }

    /** Returns the function that is applied to the values. */
    public MaskFn maskFn() {
      return maskFn;
    }

    /** Returns the probability of dropping a value, in [0, 1). */
    public double dropout() {
      return dropout;
    }

    /**
     * Returns the noise of samples and dropout; given uniforms have the shape of the values behind
     * a batch dimension.
     */
    public Noise noise() {
      return noise;
    }

    /**
     * A mask that is applied as it is.
     *
     * @param values as {@link #values()}
     */
    public static Mask of(Tensor values, boolean hasRows, boolean hasSeq) {
      return new Mask(values, hasRows, hasSeq, MaskFn.NONE, 0, Noise.DEFAULT);
    }

    /**
     * This mask with a function that is applied to its values.
     *
     * @throws IllegalArgumentException if there is noise that nothing takes any more
     */
    public Mask withMaskFn(MaskFn value) {
      return new Mask(values, hasRows, hasSeq, value, dropout, noise);
    }

    /**
     * This mask with a probability of dropping values.
     *
     * @throws IllegalArgumentException if there is noise that nothing takes any more
     */
    public Mask withDropout(double value) {
      return new Mask(values, hasRows, hasSeq, maskFn, value, noise);
    }

    /**
     * This mask with the noise of samples and dropout.
     *
     * @throws IllegalArgumentException if neither the mask function nor dropout takes it
     */
    public Mask withNoise(Noise value) {
      return new Mask(values, hasRows, hasSeq, maskFn, dropout, value);
    }

    private boolean batched() {
      return Arguments.live("mask", values).dim() == 2 + (hasRows ? 1 : 0) + (hasSeq ? 1 : 0);
    }

    private Patch patch() {
      Arguments.live("mask", values);
      if (noise instanceof Noise.Uniforms given) {
        Tensor uniforms = Arguments.live("uniforms", given.tensor());
        return new Patch(null, 0, values, 0, NativeCodes.of(maskFn), dropout, 0, 0, uniforms);
      }
      Noise.Seeded seeded = (Noise.Seeded) noise;
      return new Patch(
          null, 0, values, 0, NativeCodes.of(maskFn), dropout, seeded.seed(), seeded.step(), null);
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Mask that && components().equals(that.components());
    }

    @Override
    public int hashCode() {
      return components().hashCode();
    }

    @Override
    public String toString() {
      return "Mask" + components();
    }

    private Components components() {
      return Components.of(
          "values", values, "hasRows", hasRows, "hasSeq", hasSeq, "maskFn", maskFn, "dropout",
          dropout, "noise", noise);
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
