package org.autocircuit.pass;

import java.util.Optional;
import java.util.function.Supplier;

/**
 * Keeps how far a long call is, so that the same call, made again with the same arguments, goes on
 * from there: after the process has ended, too, where it is a {@link CheckpointFile}. What a state
 * holds is the call's own business; it is plain numbers, and as large as the scores or the values
 * that the call adds up.
 *
 * <p>A call that goes on returns what it would have returned without a break: bit for bit where it
 * runs on the same machine with as many threads, on the CPU.
 *
 * <p>For one thread, and one call at a time.
 */
public interface Checkpoint {

  /** Keeps nothing. */
  Checkpoint NONE =
      new Checkpoint() {
        @Override
        public Optional<double[]> state() {
          return Optional.empty();
        }

        @Override
        public void keep(double[] state) {}

        @Override
        public void reached(Supplier<double[]> state) {}
      };

  /** The state that was kept last; empty for a call that begins from the beginning. */
  Optional<double[]> state();

  /** Keeps a state now: at the end of a call, or where it was stopped. */
  void keep(double[] state);

  /**
   * Is told after each step of the call that there is a new state, and asks for it if it is worth
   * keeping now. By default it always is.
   */
  default void reached(Supplier<double[]> state) {
    keep(state.get());
  }
}
