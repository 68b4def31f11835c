package org.autocircuit.graph;

import java.util.AbstractList;
import java.util.Objects;
import java.util.OptionalInt;
import java.util.RandomAccess;

/** The edges of a graph, or of one position of it, made one by one when they are asked for. */
final class EdgeList extends AbstractList<Edge> implements RandomAccess {

  private final ModelGraph graph;
  private final OptionalInt position;
  private final int size;

  EdgeList(ModelGraph graph, OptionalInt position) {
    this.graph = graph;
    this.position = position;
    this.size = position.isEmpty() ? graph.nEdges() : graph.nEdges() / graph.seqLen().orElse(1);
  }

  @Override
  public Edge get(int index) {
    Objects.checkIndex(index, size);
    return position.isEmpty() ? graph.edge(index) : graph.edgeAt(position.getAsInt(), index);
  }

  @Override
  public int size() {
    return size;
  }

  @Override
  public boolean contains(Object object) {
    return indexOf(object) >= 0;
  }

  @Override
  public int lastIndexOf(Object object) {
    return indexOf(object);
  }

  @Override
  public int indexOf(Object object) {
    if (!(object instanceof Edge edge)
        || (position.isPresent() && !position.equals(edge.position()))) {
      return -1;
    }
    int index = graph.find(edge);
    if (index < 0 || position.isEmpty()) {
      return index;
    }
    DestModule module = graph.destModule(index);
    int local = index - module.offset() - position.getAsInt() * module.positionSize();
    return module.offset() / module.seqLen() + local;
  }
}
