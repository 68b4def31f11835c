package org.autocircuit.internal;

import org.bytedeco.pytorch.Tensor;

/**
 * Holds what patches a pass, as native code takes it: all that depends on the context. Whoever has
 * one keeps what it refers to open.
 *
 * @param patchSrcOuts {@code null}: nothing is patched
 * @param fullyPatched address of a {@link FullyPatchedCache}; 0: none
 * @param plans address of the plans of {@link NativeMasks}; 0: the masks may change
 * @param uniforms {@code null}: drawn by seed and step
 */
public record Patch(
    Tensor patchSrcOuts,
    long fullyPatched,
    Tensor masks,
    long plans,
    int maskFn,
    double dropout,
    long seed,
    long step,
    Tensor uniforms) {

  /** A pass that is not patched. */
  public static final Patch NONE = new Patch(null, 0, null, 0, 0, 0, 0, 0, null);

  /** The tensor, or for {@code null} an undefined one of the innermost scope. */
  public static Tensor orUndefined(Tensor tensor) {
    return tensor == null ? new Tensor() : tensor;
  }
}
