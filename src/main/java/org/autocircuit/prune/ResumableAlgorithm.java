package org.autocircuit.prune;

import java.util.Collection;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.Progress;

/**
 * An algorithm that can go on where it was stopped, in another process too:
 *
 * <pre>{@code
 * CheckpointFile file = CheckpointFile.open(path, settings);
 * PruneScores scores =
 *     Acdc.builder().build().pruneScores(model, batches, Progress.NONE, file.part("acdc"));
 * file.delete();
 * }</pre>
 */
public interface ResumableAlgorithm extends PruneAlgorithm {

  /**
   * As {@link #pruneScores(PatchableModel, Collection, Progress)}, from where the checkpoint says.
   * The scores are those of a call without a break, bit for bit on the CPU.
   *
   * @param batches the same ones in the same order
   * @param progress is told of the steps that are left, counted from those that were done
   * @param checkpoint is told of each step, and has the last state when the call ends or is stopped
   * @throws IllegalArgumentException also if the checkpoint's state is that of another call
   */
  PruneScores pruneScores(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      Progress progress,
      Checkpoint checkpoint);

  @Override
  default PruneScores pruneScores(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, Progress progress) {
    return pruneScores(model, batches, progress, Checkpoint.NONE);
  }
}
