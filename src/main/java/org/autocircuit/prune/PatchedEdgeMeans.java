package org.autocircuit.prune;

import java.util.Arrays;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import org.autocircuit.PatchableModel;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.StateReader;
import org.autocircuit.internal.StateWriter;
import org.autocircuit.internal.Stop;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.pass.IncrementalRun;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Effects of single edges, averaged over batches. For one thread. */
final class PatchedEdgeMeans {

  private final PatchableModel model;
  private final int[] chosen;
  private final double[] scores;

  /** The share of all prompts with which each edge was tested. */
  private final double[] tested;

  private final Progress progress;
  private final Checkpoint checkpoint;
  private final long total;
  private long done;

  PatchedEdgeMeans(
      PatchableModel model, int[] chosen, int batches, Progress progress, Checkpoint checkpoint) {
    this.progress = Objects.requireNonNull(progress, "progress");
    this.checkpoint = checkpoint;
    this.model = model;
    this.chosen = chosen;
    total = (long) batches * chosen.length;
    int edges = model.graph().nEdges();
    Optional<double[]> state = checkpoint.state();
    if (state.isEmpty()) {
      scores = new double[edges];
      tested = new double[edges];
      return;
    }
    StateReader reader = new StateReader(state.get());
    done = reader.nextCount(total);
    scores = reader.next(edges);
    tested = reader.next(edges);
    reader.end();
  }

  double[] state() {
    return new StateWriter().add(done).add(scores).add(tested).toArray();
  }

  /** Returns on how many batches all edges were tested. */
  long wholeBatches() {
    return chosen.length == 0 ? 0 : done / chosen.length;
  }

  PruneScores scores() {
    return PruneScores.wrap(model.graph(), scores);
  }

  PruneScores partial() {
    double[] means = new double[scores.length];
    Arrays.setAll(means, i -> tested[i] == 0 ? 0 : scores[i] / tested[i]);
    return PruneScores.wrap(model.graph(), means);
  }

  /** Adds a batch that has so great a share of all prompts. */
  void add(
      ModelInput clean,
      SourceActivations activations,
      Function<Tensor, UnaryOperator<Tensor>> lossOf,
      double share) {
    PatchContext none = PatchContext.of(activations, Masks.uniform(model.graph(), 0));
    try (CallScope scope = new CallScope();
        IncrementalRun run = model.incrementalRun(clean, none, OutputSlice.LAST_SEQ)) {
      Tensor logits = run.logits().to(ScalarType.Double);
      model.precision().requireFinite("logits", logits);
      UnaryOperator<Tensor> loss = lossOf.apply(logits);
      double plain = value(loss, logits);
      int first = (int) (done - wholeBatches() * chosen.length);
      for (int next = first; next < chosen.length; next++) {
        Stop.check();
        int edge = chosen[next];
        scores[edge] += share * (patched(run, edge, loss) - plain);
        tested[edge] += share;
        progress.report(++done, total);
        checkpoint.reached(this::state);
      }
    }
  }

  private double patched(IncrementalRun run, int edge, UnaryOperator<Tensor> loss) {
    try (CallScope scope = new CallScope()) {
      Tensor logits = run.withMasks(EdgeSet.of(model.graph(), edge), 1).logits();
      return value(loss, logits.to(ScalarType.Double));
    }
  }

  private double value(UnaryOperator<Tensor> loss, Tensor logits) {
    double value = loss.apply(logits).item_double();
    if (!Double.isFinite(value)) {
      model.precision().requireFinite("logits", logits);
      throw model.precision().notFinite("losses");
    }
    return value;
  }
}
