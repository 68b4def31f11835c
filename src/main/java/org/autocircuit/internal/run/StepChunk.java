package org.autocircuit.internal.run;

import org.autocircuit.internal.NativeSequence;
import org.autocircuit.internal.NativeStepMasks;
import org.bytedeco.pytorch.Tensor;

/**
 * Tokens that a step adds to one sequence.
 *
 * @param position of the first token: the length of the sequence
 * @param wantsLogits of the last token
 * @param wantsReads values of the hook points that the step reads, of the last token
 * @param masks {@code null}: not patched, and then there is no donor and no constant
 * @param donor a chunk of the step with as many tokens at the same positions, not patched, whose
 *     sources patch this one's edges; -1: the constant does
 * @param constant {@code [n_srcs, 1, positions or 1, d_model]}, or {@code null}
 */
// Nobody compares them.
@SuppressWarnings("ArrayRecordComponent")
public record StepChunk(
    NativeSequence sequence,
    int position,
    long[] tokens,
    boolean wantsLogits,
    boolean wantsReads,
    NativeStepMasks masks,
    int donor,
    Tensor constant) {

  /** No donor. */
  public static final int NO_DONOR = -1;

  /** A chunk that is not patched. */
  public static StepChunk plain(
      NativeSequence sequence,
      int position,
      long[] tokens,
      boolean wantsLogits,
      boolean wantsReads) {
    return new StepChunk(sequence, position, tokens, wantsLogits, wantsReads, null, NO_DONOR, null);
  }
}
