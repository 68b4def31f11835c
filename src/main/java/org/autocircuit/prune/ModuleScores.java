package org.autocircuit.prune;

import java.util.Arrays;
import java.util.Objects;
import org.autocircuit.graph.DestModule;

/**
 * The scores of the edges into one destination module, as a view on {@link PruneScores}: a block of
 * shape {@code [seq_len][heads][incoming sources]}, where the first two dimensions exist only if
 * the graph has positions and the module has heads. Immutable.
 */
public final class ModuleScores {

  private final DestModule module;
  private final double[] scores;

  ModuleScores(DestModule module, double[] scores) {
    this.module = module;
    this.scores = scores;
  }

  /** The module. */
  public DestModule module() {
    return module;
  }

  /** The shape of the block. */
  public long[] shape() {
    return module.maskShape();
  }

  /**
   * One score.
   *
   * @param position token position, 0 if the graph has none
   * @param row head, 0 if the module has none
   * @param srcIdx index of the source among all sources of the graph
   * @throws IndexOutOfBoundsException if an index is outside of the block
   */
  public double get(int position, int row, int srcIdx) {
    Objects.checkIndex(position, Math.max(module.seqLen(), 1));
    Objects.checkIndex(row, module.nDests());
    Objects.checkIndex(srcIdx - module.inStart(), module.nSrcs());
    return scores[module.index(position, row, srcIdx)];
  }

  /** A copy of the block in row-major order. */
  public double[] toArray() {
    return Arrays.copyOfRange(scores, module.offset(), module.end());
  }
}
