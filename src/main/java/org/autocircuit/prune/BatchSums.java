package org.autocircuit.prune;

import java.util.Arrays;
import java.util.Optional;
import org.autocircuit.internal.StateReader;
import org.autocircuit.internal.StateWriter;

/** Adds up scores of batches, each of which counts as much as it has prompts. For one thread. */
final class BatchSums {

  private final double[] sums;
  private int batches;
  private long prompts;

  /**
   * Begins, or resumes from a state.
   *
   * @param most batches at the end
   * @throws IllegalArgumentException if it is the state of something else
   */
  BatchSums(int edges, int most, Optional<double[]> state) {
    if (state.isEmpty()) {
      sums = new double[edges];
      return;
    }
    StateReader reader = new StateReader(state.get());
    batches = (int) reader.nextCount(most);
    prompts = reader.nextCount(Long.MAX_VALUE);
    sums = reader.next(edges);
    reader.end();
  }

  /** Adds the mean scores of a batch of so many prompts. */
  void add(int size, double[] scores) {
    for (int i = 0; i < sums.length; i++) {
      sums[i] += size * scores[i];
    }
    prompts += size;
    batches++;
  }

  /** Number of batches so far. */
  int batches() {
    return batches;
  }

  /** Number of prompts so far. */
  long prompts() {
    return prompts;
  }

  /** The state to resume from. */
  double[] state() {
    return new StateWriter().add(batches).add(prompts).add(sums).toArray();
  }

  /** The mean over the prompts so far. */
  double[] mean() {
    return Arrays.stream(sums).map(sum -> sum / prompts).toArray();
  }
}
