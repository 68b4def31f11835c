package org.autocircuit.generate;

import java.util.Arrays;
import java.util.Map;
import java.util.stream.Stream;

/**
 * The donor of one request: the tokens of its corrupt prompt and those that follow, and the run
 * that computes them, which other requests may share.
 */
final class DonorTrack {

  private final int promptLength;
  private final int until;
  private final int capacity;
  private final TokenSampler sampler;
  private int[] tokens;
  private DonorRun run;
  private StepDraft.DonorChunk chunk;

  /**
   * A donor that does not run yet.
   *
   * @param until position from which on nothing is patched with it
   * @param sampler of its tokens; {@code null}: those of the answer
   */
  DonorTrack(int[] corrupt, int until, int capacity, TokenSampler sampler) {
    promptLength = corrupt.length;
    this.until = until;
    this.capacity = capacity;
    this.sampler = sampler;
    tokens = corrupt;
  }

  boolean isNeededAt(int position) {
    return position < until;
  }

  /** Returns whether it runs, so that others can share what it has computed. */
  boolean isRunning() {
    return run != null;
  }

  /** Runs from the first token on, together with another that is about to do the same. */
  void begin(StepEngine engine, Stream<DonorTrack> others) {
    run =
        others
            .filter(this::isSame)
            .findFirst()
            .map(other -> other.run.share())
            .orElseGet(() -> DonorRun.begin(engine, capacity));
  }

  private boolean isSame(DonorTrack other) {
    return other.run != null
        && other.run.isAt(0)
        && other.capacity == capacity
        && other.promptLength == promptLength
        && Arrays.equals(other.tokens, 0, promptLength, tokens, 0, promptLength);
  }

  /** Goes on from where another is that runs; the tokens so far are the same. */
  void share(DonorTrack other) {
    run = other.run.share();
  }

  /**
   * Puts its next tokens into a step, unless another request has put the same there.
   *
   * @param known number of tokens that are known
   * @return with as many tokens as the request takes, at most those asked for
   */
  StepDraft.DonorChunk addTo(
      StepDraft draft, StepEngine engine, int position, int most, int known, boolean decodes) {
    StepDraft.DonorChunk other = draft.of(run);
    boolean together = other != null && run.isAt(position);
    int end = position + (together ? Math.min(most, other.chunk().tokens().length) : most);
    int[] next = Arrays.copyOfRange(tokens, position, end);
    boolean wantsLogits = sampler != null && end == known && isNeededAt(end);
    if (together
        && Arrays.equals(other.chunk().tokens(), next)
        && (other.chunk().wantsLogits() || !wantsLogits)) {
      chunk = other;
      return chunk;
    }
    if (other != null || !run.isAt(position)) {
      DonorRun own = run.fork(engine, position, capacity);
      run.release();
      run = own;
    }
    chunk =
        draft.addDonor(
            run,
            new StepEngine.Chunk(
                run.sequence(), position, next, wantsLogits, false, null, -1, null, Map.of()),
            decodes);
    return chunk;
  }

  /** A step has computed all before a position. */
  void grownTo(int position) {
    run.grownTo(position);
  }

  /**
   * Chooses the token that follows, if it chooses its own and there is use for it.
   *
   * @param logits a place for {@code [d_vocab]} values
   * @param otherwise the answer's
   */
  int next(StepEngine.Output output, double[] logits, int position, int step, int otherwise) {
    if (sampler == null || run == null || !isNeededAt(position)) {
      return otherwise;
    }
    output.logits(chunk.logitRow(), logits);
    return sampler.next(logits, step);
  }

  void append(int position, int id) {
    if (position >= tokens.length) {
      tokens = Arrays.copyOf(tokens, Math.max(16, 2 * position));
    }
    tokens[position] = id;
  }

  /** Runs no longer. */
  void release() {
    if (run != null) {
      run.release();
      run = null;
    }
  }
}
