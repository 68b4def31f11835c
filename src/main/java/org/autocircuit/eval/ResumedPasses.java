package org.autocircuit.eval;

import java.util.function.Consumer;
import org.autocircuit.internal.StateReader;
import org.autocircuit.internal.StateWriter;
import org.autocircuit.pass.Checkpoint;

/** Counts passes whose results are kept in a checkpoint. For one thread. */
final class ResumedPasses {

  private final Checkpoint checkpoint;
  private final long total;
  private long done;

  ResumedPasses(Checkpoint checkpoint, long total) {
    this.checkpoint = checkpoint;
    this.total = total;
  }

  /** Reads the results so far, if there are any. */
  void restore(Consumer<StateReader> results) {
    checkpoint
        .state()
        .ifPresent(
            state -> {
              StateReader reader = new StateReader(state);
              done = reader.nextCount(total);
              results.accept(reader);
              reader.end();
            });
  }

  /** Passes done so far. */
  long done() {
    return done;
  }

  /** Counts a pass whose results have been added. */
  void did(Consumer<StateWriter> results) {
    done++;
    checkpoint.reached(() -> state(results));
  }

  /** Keeps the results at the end, or where it was stopped. */
  void keep(Consumer<StateWriter> results) {
    checkpoint.keep(state(results));
  }

  private double[] state(Consumer<StateWriter> results) {
    StateWriter state = new StateWriter().add(done);
    results.accept(state);
    return state.toArray();
  }
}
