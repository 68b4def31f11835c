package org.autocircuit.eval;

import java.util.BitSet;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;

/**
 * Random circuits to compare a circuit with. The same seed gives the same circuit on every machine.
 */
public final class RandomCircuits {

  /** Exchanges tried for each edge: far more than it takes until a circuit has forgotten itself. */
  private static final int TRIES = 40;

  private RandomCircuits() {}

  /**
   * Draws edges evenly from all sets of that size.
   *
   * @throws IllegalArgumentException if the size is negative or more than the number of edges
   */
  public static EdgeSet ofSize(ModelGraph graph, int size, long seed) {
    int n = graph.nEdges();
    if (size < 0 || size > n) {
      throw new IllegalArgumentException(
          String.format(Locale.ROOT, "expected a circuit size from 0 to %,d, got %,d", n, size));
    }
    SplittableRandom random = new SplittableRandom(seed);
    BitSet chosen = new BitSet(n);
    // Floyd's sampling: each step adds one of the first i + 1 edges, or else the last of them.
    for (int i = n - size; i < n; i++) {
      int edge = random.nextInt(i + 1);
      chosen.set(chosen.get(edge) ? i : edge);
    }
    return EdgeSet.ofIndices(graph, chosen);
  }

  /**
   * Draws a circuit in which every node has as many edges as in another one: each source feeds
   * equally many destinations, each destination has equally many sources, at each position where
   * edges have positions. So what is left to compare is who is joined to whom, not how busy the
   * nodes are. Two edges of the circuit exchange their destinations, again and again, where that
   * gives two edges of the graph that the circuit does not have (the switching chain of
   * degree-preserving randomisation; Maslov and Sneppen 2002).
   *
   * @return the circuit itself where its degrees allow no other
   */
  public static EdgeSet ofDegrees(EdgeSet circuit, long seed) {
    ModelGraph graph = circuit.graph();
    SplittableRandom random = new SplittableRandom(seed);
    int[] edges = circuit.indices().toArray();
    BitSet chosen = new BitSet(graph.nEdges());
    circuit.indices().forEach(chosen::set);
    long tries = edges.length < 2 ? 0 : (long) TRIES * edges.length;
    for (long i = 0; i < tries; i++) {
      int a = random.nextInt(edges.length);
      int b = random.nextInt(edges.length);
      Place first = Place.of(graph, edges[a]);
      Place second = Place.of(graph, edges[b]);
      int crossed = first.fedBy(second);
      int other = second.fedBy(first);
      if (crossed >= 0 && other >= 0 && !chosen.get(crossed) && !chosen.get(other)) {
        chosen.clear(edges[a]);
        chosen.clear(edges[b]);
        chosen.set(crossed);
        chosen.set(other);
        edges[a] = crossed;
        edges[b] = other;
      }
    }
    return EdgeSet.ofIndices(graph, chosen);
  }

  /** The place of an edge among those of its destination module. */
  private record Place(DestModule module, int position, int row, int src) {

    static Place of(ModelGraph graph, int edge) {
      List<DestModule> modules = graph.destModules();
      int low = 0;
      int high = modules.size() - 1;
      while (low < high) {
        int middle = (low + high) >>> 1;
        if (modules.get(middle).end() <= edge) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      DestModule module = modules.get(low);
      int local = edge - module.offset();
      int row = local % module.positionSize() / module.nSrcs();
      return new Place(
          module, local / module.positionSize(), row, module.inStart() + local % module.nSrcs());
    }

    /** The edge from the other's source into this destination; −1 if there is none. */
    int fedBy(Place other) {
      boolean edge =
          position == other.position
              && module.inStart() <= other.src
              && other.src < module.inStop();
      return edge ? module.index(position, row, other.src) : -1;
    }
  }
}
