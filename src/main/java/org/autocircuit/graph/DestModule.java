package org.autocircuit.graph;

/**
 * A hook point whose input is one or more destinations, and its part of the flat mask vector:
 * {@code size} values from {@code offset}, in row-major order {@code [seq_len][rows][n]}, where the
 * first two dimensions exist only if they are not 0 and {@code n = inStop - inStart}.
 *
 * @param moduleName the hook point
 * @param offset flat index of the first value
 * @param seqLen number of token positions, or 0 if the mask holds for all positions
 * @param rows number of destinations, one for each head, or 0 if the module has no head dimension
 * @param inStart index of the first source that feeds the module
 * @param inStop index after the last source that feeds the module
 * @param firstDest index in {@link ModelGraph#dests} of the first destination of this module
 */
public record DestModule(
    String moduleName, int offset, int seqLen, int rows, int inStart, int inStop, int firstDest) {

  /** Number of sources that feed each destination of this module. */
  public int nSrcs() {
    return inStop - inStart;
  }

  /** Returns whether a source feeds the destinations of this module. */
  public boolean isFedBy(SrcNode src) {
    return inStart <= src.srcIdx() && src.srcIdx() < inStop;
  }

  /** Number of destinations: the heads, or 1 if the module has no head dimension. */
  public int nDests() {
    return Math.max(rows, 1);
  }

  /** Number of values of one token position. */
  public int positionSize() {
    return nDests() * nSrcs();
  }

  /** Number of values of this module in the flat vector. */
  public int size() {
    return Math.max(seqLen, 1) * positionSize();
  }

  /** Flat index after the last value. */
  public int end() {
    return offset + size();
  }

  /**
   * Flat index of one value.
   *
   * @param position token position, 0 if {@code seqLen} is 0
   * @param row the destination within this module
   * @param srcIdx the source, {@code inStart <= srcIdx < inStop}
   */
  public int index(int position, int row, int srcIdx) {
    return offset + (position * nDests() + row) * nSrcs() + (srcIdx - inStart);
  }

  /**
   * The source of the value with a flat index of this module, {@code offset <= index < end()}: the
   * inverse of {@link #index}.
   */
  public int srcIdx(int index) {
    return inStart + (index - offset) % nSrcs();
  }

  /**
   * The shape of the module's mask: {@code [n]}, {@code [rows, n]}, {@code [seq_len, n]} or all.
   */
  public long[] maskShape() {
    if (seqLen == 0) {
      return rows == 0 ? new long[] {nSrcs()} : new long[] {rows, nSrcs()};
    }
    return rows == 0 ? new long[] {seqLen, nSrcs()} : new long[] {seqLen, rows, nSrcs()};
  }
}
