package org.autocircuit.prune;

import java.util.Collection;
import java.util.function.BiConsumer;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.StateReader;
import org.autocircuit.internal.StateWriter;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.SourceActivations;

/**
 * The steps of a training of masks, one on each batch in every epoch, from where it was stopped.
 *
 * @param patchInput the prompts that activations of a single batch are computed from
 */
record Epochs(
    PatchableModel model,
    Collection<? extends PromptPairBatch> batches,
    int number,
    Ablation ablation,
    CleanCorrupt patchInput,
    Progress progress,
    Checkpoint checkpoint) {

  /** State of a training beside its masks. */
  interface More {
    /** Adds it to what the checkpoint keeps. */
    void addTo(StateWriter state);

    /** Goes on from it. */
    void restore(StateReader state);
  }

  /** Nothing more. */
  static final More NOTHING =
      new More() {
        @Override
        public void addTo(StateWriter state) {}

        @Override
        public void restore(StateReader state) {}
      };

  /** Number of all steps. */
  long steps() {
    return (long) number * batches.size();
  }

  /** Makes the steps that are left, and returns the scores. */
  PruneScores train(
      MaskTraining training, More more, BiConsumer<PromptPairBatch, SourceActivations> step) {
    // The state is read at the end of the process, too, which waits for the whole call.
    try (CallScope scope = new CallScope()) {
      checkpoint.state().ifPresent(state -> restore(new StateReader(state), training, more));
      try {
        PatchedBatches.forEach(
            model,
            batches,
            ablation,
            patchInput,
            number,
            training.steps(),
            (batch, activations) -> {
              step.accept(batch, activations);
              progress.report(training.steps(), steps());
              checkpoint.reached(() -> state(training, more));
            });
      } catch (StoppedException e) {
        if (training.steps() == 0) {
          throw e;
        }
        checkpoint.keep(state(training, more));
        throw new StoppedException(e, training.scores());
      }
      checkpoint.keep(state(training, more));
      return training.scores();
    }
  }

  private static double[] state(MaskTraining training, More more) {
    StateWriter state = training.state();
    more.addTo(state);
    return state.toArray();
  }

  private void restore(StateReader state, MaskTraining training, More more) {
    training.restore(state, steps());
    more.restore(state);
    state.end();
  }
}
