package org.autocircuit.generate;

import java.util.List;
import java.util.Map;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.SourceActivations;

/**
 * Runs the steps of a generator: sequences that hold keys and values, and steps that add tokens to
 * many of them at once. One thread makes, runs and closes; any may ask for bytes, and to stop.
 */
interface StepEngine extends AutoCloseable {

  /** Something native of one request. */
  interface Handle extends AutoCloseable {
    @Override
    void close();
  }

  /**
   * Tokens to add to one sequence.
   *
   * @param position of the first token: the length of the sequence
   * @param masks {@code null}: not patched, and then there is no donor and no constant
   * @param donor a chunk of the step with as many tokens at the same positions; -1: the constant
   * @param added hook points with what is added there at all positions of the chunk, {@code
   *     [d_model]}
   */
  @SuppressWarnings("ArrayRecordComponent") // nobody compares them
  record Chunk(
      Handle sequence,
      int position,
      int[] tokens,
      boolean wantsLogits,
      boolean wantsReads,
      Handle masks,
      int donor,
      Handle constant,
      Map<String, float[]> added) {}

  /** The results of a step; closed on the thread that ran it. */
  interface Output extends AutoCloseable {

    /** Copies logits {@code [d_vocab]} of the {@code row}-th chunk that wants them. */
    void logits(int row, double[] into);

    /** One of these logits. */
    double logit(int row, int id);

    /** Returns what was read at a hook point in the {@code row}-th chunk that wants reads. */
    float[] read(int row, int hook);

    @Override
    void close();
  }

  /**
   * Refuses what cannot patch.
   *
   * @throws IllegalArgumentException with what was expected and what came
   * @throws IllegalStateException if the activations are closed
   */
  void check(SourceActivations activations, Masks masks);

  /** Makes an empty sequence; patched: edges of its tokens may be. */
  Handle newSequence(int capacity, boolean patched);

  /** Makes a sequence of the first tokens of another one, of its kind. */
  Handle fork(Handle sequence, int length, int capacity);

  /** The bytes of such a sequence. */
  long sequenceBytes(int capacity, boolean patched);

  /** The bytes of the masks of a request. */
  long maskBytes(Masks masks);

  /** Makes the masks of a request. What is random about them is drawn here. */
  Handle newMasks(Masks masks, MaskFn maskFn, long seed);

  /**
   * Makes what patches edges without a donor.
   *
   * @param position the one that is taken everywhere; -1: each its own
   */
  Handle newConstant(GenerationPatch.Source source, int position);

  /** The bytes that a step takes for each token. */
  long passBytesPerToken(boolean patched);

  /**
   * Runs a step. All sequences have grown when it returns; none has if it throws or was stopped.
   *
   * @return {@code null} if it was stopped
   */
  Output step(List<Chunk> chunks, List<String> reads);

  /** Stops the step that runs, and those that begin, or no longer. Any thread may ask. */
  void stop(boolean value);

  @Override
  void close();
}
