package org.autocircuit.graph;

import java.util.Objects;
import java.util.OptionalInt;

/**
 * The contribution of one source to the input of one destination, at one token position or at all.
 *
 * <p>Edges are values made on demand from a {@link ModelGraph}, which holds none. Where many edges
 * are handled at once, use their indices ({@link ModelGraph#index(Edge)}) or an {@link EdgeSet}.
 */
public final class Edge {

  private final SrcNode src;
  private final DestNode dest;
  private final OptionalInt position;

  /** An edge for all token positions. */
  public Edge(SrcNode src, DestNode dest) {
    this(src, dest, OptionalInt.empty());
  }

  /** An edge at one token position. */
  public Edge(SrcNode src, DestNode dest, int position) {
    this(src, dest, OptionalInt.of(position));
  }

  Edge(SrcNode src, DestNode dest, OptionalInt position) {
    this.src = Objects.requireNonNull(src, "src");
    this.dest = Objects.requireNonNull(dest, "dest");
    this.position = position;
  }

  /** Returns the node that writes. */
  public SrcNode src() {
    return src;
  }

  /** Returns the node that reads. */
  public DestNode dest() {
    return dest;
  }

  /** Returns the token position, or empty in a graph whose masks hold for all positions. */
  public OptionalInt position() {
    return position;
  }

  /** The name, {@code "{src}->{dest}"}: shared by the same edge at different positions. */
  public String name() {
    return src.name() + "->" + dest.name();
  }

  /**
   * The name, with the query heads that read a shared key/value head: {@code A0.1->A4.1.V (kv 1:
   * heads 2, 3)}. For people; look-ups and files use the name.
   */
  public String label() {
    return src.name() + "->" + dest.label();
  }

  /**
   * The name as look-ups take it, {@code "{src}->{dest}@{position}"} if there is a position, and
   * then the query heads as in {@link #label()}.
   */
  @Override
  public String toString() {
    String readers = label().substring(name().length());
    return name() + (position.isPresent() ? "@" + position.getAsInt() : "") + readers;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Edge that
        && src.equals(that.src)
        && dest.equals(that.dest)
        && position.equals(that.position);
  }

  @Override
  public int hashCode() {
    return Objects.hash(src, dest, position);
  }
}
