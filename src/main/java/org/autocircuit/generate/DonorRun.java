package org.autocircuit.generate;

/**
 * A plain run on a corrupt prompt, whose sources patch one request, or several that have the same
 * tokens there and are at the same position: for these it runs once. A request that no longer is
 * where the others are goes on with a run of its own, which shares what was computed so far.
 */
final class DonorRun {

  private final StepEngine.Handle sequence;
  private int length;
  private int users = 1;

  private DonorRun(StepEngine.Handle sequence, int length) {
    this.sequence = sequence;
    this.length = length;
  }

  /** One that has no tokens yet. */
  static DonorRun begin(StepEngine engine, int capacity) {
    return new DonorRun(engine.newSequence(capacity, false), 0);
  }

  /** One with the first tokens of this one, for one user of this who lets go of this. */
  DonorRun fork(StepEngine engine, int tokens, int capacity) {
    return new DonorRun(engine.fork(sequence, tokens, capacity), tokens);
  }

  StepEngine.Handle sequence() {
    return sequence;
  }

  /** Returns whether its next token is at a position. */
  boolean isAt(int position) {
    return length == position;
  }

  /** It has computed all before a position. */
  void grownTo(int position) {
    length = position;
  }

  /** This, for one more user. */
  DonorRun share() {
    users++;
    return this;
  }

  /** One user has no more use for it; behind the last one it is freed. */
  void release() {
    users--;
    if (users == 0) {
      sequence.close();
    }
  }
}
