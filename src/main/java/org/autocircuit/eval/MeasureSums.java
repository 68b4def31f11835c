package org.autocircuit.eval;

import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.StateReader;
import org.autocircuit.internal.StateWriter;

/**
 * Adds up measures of circuits that come batch by batch, circuits in order, beside the full model,
 * which runs once a batch. For one thread.
 */
final class MeasureSums implements CircuitPasses.Sink {

  private final PatchableModel model;
  private final List<PromptPairBatch> batches;
  private final CircuitMeasures.Sum[] sums;

  /** The full model's outputs on the batch that is being added. */
  private Logits full;

  private int fullOf = -1;

  MeasureSums(PatchableModel model, List<PromptPairBatch> batches, int circuits) {
    this.model = model;
    this.batches = batches;
    sums = new CircuitMeasures.Sum[circuits];
    for (int circuit = 0; circuit < circuits; circuit++) {
      sums[circuit] = new CircuitMeasures.Sum();
    }
  }

  @Override
  public void accept(int circuit, int batch, Logits logits) {
    if (fullOf != batch) {
      full = CircuitPasses.fullModel(model, batches.get(batch).clean());
      fullOf = batch;
    }
    sums[circuit].add(logits, full, batches.get(batch));
  }

  /** Adds the sums of all circuits. */
  void addTo(StateWriter state) {
    for (CircuitMeasures.Sum sum : sums) {
      sum.addTo(state);
    }
  }

  /** Goes on from what was added. */
  void restore(StateReader state) {
    for (CircuitMeasures.Sum sum : sums) {
      sum.restore(state);
    }
  }

  /** Returns whether a circuit has not run on any batch. */
  boolean isEmpty(int circuit) {
    return sums[circuit].isEmpty();
  }

  /** The means over the prompts that a circuit ran on. */
  CircuitMeasures mean(int circuit) {
    return sums[circuit].mean();
  }
}
