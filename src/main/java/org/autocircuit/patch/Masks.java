package org.autocircuit.patch;

import java.util.Arrays;
import java.util.Collection;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalInt;
import java.util.concurrent.ConcurrentHashMap;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeMasks;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Mask values that never change: nothing to close, safe to share between threads and models of
 * equal graphs. Keep them for as long as passes use them: the first pass makes their native tensor
 * and a plan of what there is to compute, and later ones share these, which are about as large as
 * the values here. They are freed when the masks are no longer reachable. The usual way to run a
 * circuit:
 *
 * <pre>{@code
 * Masks patched = Masks.ofEdges(circuit);   // patch the circuit's edges
 * Masks ablated = Masks.allBut(circuit);    // patch all others
 * }</pre>
 */
public final class Masks implements MaskValues {

  static {
    Access.OfMasks<Masks> accessor = Masks::onDevice;
    Access.register(Masks.class, accessor);
  }

  private final ModelGraph graph;
  private final int examples;
  private final float[] floats;
  private final double[] doubles;
  private final Map<String, NativeMasks> natives = new ConcurrentHashMap<>();

  /** One of the arrays is {@code null}; {@code examples} is 0 if all examples share the masks. */
  private Masks(ModelGraph graph, int examples, float[] floats, double[] doubles) {
    this.graph = Objects.requireNonNull(graph, "graph");
    this.examples = examples;
    this.floats = floats;
    this.doubles = doubles;
  }

  /** The same value for every edge. */
  public static Masks uniform(ModelGraph graph, double value) {
    double[] values = new double[graph.maskSize()];
    Arrays.fill(values, value);
    return new Masks(graph, 0, null, values);
  }

  /**
   * The given values.
   *
   * @param values one for each edge index; copied
   * @throws IllegalArgumentException if they are not as many as the graph has edges
   */
  public static Masks of(ModelGraph graph, float[] values) {
    checkSize(graph, values.length);
    return new Masks(graph, 0, values.clone(), null);
  }

  /**
   * The given values.
   *
   * @param values one for each edge index; copied
   * @throws IllegalArgumentException if they are not as many as the graph has edges
   */
  public static Masks of(ModelGraph graph, double[] values) {
    checkSize(graph, values.length);
    return new Masks(graph, 0, null, values.clone());
  }

  /**
   * Values of its own for each example of a batch.
   *
   * @param values a row for each example, with one value for each edge index; copied
   * @throws IllegalArgumentException if there is no row, or a row has another length than the graph
   *     has edges
   */
  public static Masks perExample(ModelGraph graph, double[][] values) {
    if (values.length == 0) {
      throw new IllegalArgumentException("masks: expected at least one example, got none");
    }
    int size = graph.maskSize();
    double[] flat = new double[size(values.length, size)];
    for (int example = 0; example < values.length; example++) {
      checkSize(graph, values[example].length);
      System.arraycopy(values[example], 0, flat, example * size, size);
    }
    return new Masks(graph, values.length, null, flat);
  }

  /** Values of each example, one row after another, which are taken over. */
  static Masks ofRows(ModelGraph graph, int examples, double[] rows) {
    return new Masks(graph, examples, null, rows);
  }

  /**
   * The values that other masks have now, for each example where those have so: for instance what a
   * {@link org.autocircuit.mode.MaskBatchSize} trained, which is gone when it is closed.
   */
  public static Masks copyOf(MaskValues masks) {
    return new Masks(masks.graph(), masks.examples().orElse(0), null, masks.toArray());
  }

  /** Value 1 for the edges of a set, 0 for all others. */
  public static Masks ofEdges(EdgeSet edges) {
    return new Masks(edges.graph(), 0, edges.mask(1, 0), null);
  }

  /**
   * Value 1 for the given edges, 0 for all others.
   *
   * @throws IllegalArgumentException if an edge is not part of the graph
   */
  public static Masks ofEdges(ModelGraph graph, Collection<Edge> edges) {
    return ofEdges(EdgeSet.of(graph, edges));
  }

  /**
   * Value 1 for the edges with the given names, at all positions or as {@code NAME@N} at one, 0 for
   * all others.
   *
   * @throws IllegalArgumentException if there is no edge of some name; suggests the nearest name
   */
  public static Masks ofNames(ModelGraph graph, Collection<String> names) {
    return ofEdges(EdgeSet.ofNames(graph, names));
  }

  /** Value 0 for the edges of a set, 1 for all others. */
  public static Masks allBut(EdgeSet circuit) {
    return new Masks(circuit.graph(), 0, circuit.mask(0, 1), null);
  }

  /** The masks that run a circuit: {@link #ofEdges(EdgeSet)} or {@link #allBut}. */
  public static Masks of(EdgeSet circuit, PatchType type) {
    return type == PatchType.EDGE_PATCH ? ofEdges(circuit) : allBut(circuit);
  }

  @Override
  public ModelGraph graph() {
    return graph;
  }

  @Override
  public OptionalInt examples() {
    return examples == 0 ? OptionalInt.empty() : OptionalInt.of(examples);
  }

  /** Returns whether all values are 0, so that nothing is patched. */
  public boolean isZero() {
    for (int i = 0; i < (floats == null ? doubles.length : floats.length); i++) {
      if ((floats == null ? doubles[i] : floats[i]) != 0) {
        return false;
      }
    }
    return true;
  }

  /** The value of the edge with the given index, of the first example. */
  public double get(int index) {
    Objects.checkIndex(index, graph.maskSize());
    return floats == null ? doubles[index] : floats[index];
  }

  /** A copy of the values; of masks for each example, one row after another. */
  @Override
  public double[] toArray() {
    if (floats == null) {
      return doubles.clone();
    }
    double[] values = new double[floats.length];
    for (int i = 0; i < values.length; i++) {
      values[i] = floats[i];
    }
    return values;
  }

  NativeMasks onDevice(ScalarType type, String device) {
    return natives.computeIfAbsent(type + " on " + device, key -> toNative(type, device));
  }

  private NativeMasks toNative(ScalarType type, String device) {
    long[] shape =
        examples == 0 ? new long[] {graph.maskSize()} : new long[] {examples, graph.maskSize()};
    try (CallScope scope = new CallScope()) {
      return new NativeMasks(
          floats == null
              ? TensorArrays.of(doubles, type, device, shape)
              : TensorArrays.of(floats, type, device, shape));
    }
  }

  /** The size. */
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "Masks of %,d edges%s",
        graph.maskSize(),
        examples == 0 ? "" : " for %s examples".formatted(examples));
  }

  /**
   * The number of values of some examples.
   *
   * @throws IllegalArgumentException if they would fill more than a quarter of the greatest heap,
   *     or there is no array as long
   */
  static int size(long examples, int masks) {
    long most =
        Math.min(Integer.MAX_VALUE - 8, Runtime.getRuntime().maxMemory() / (4 * Double.BYTES));
    if (examples * masks > most) {
      throw new IllegalArgumentException(
          "masks: expected at most %s values for all examples together, got %s for each of %s"
              .formatted(most, masks, examples));
    }
    return Math.toIntExact(examples * masks);
  }

  static void checkSize(ModelGraph graph, long size) {
    if (size != graph.maskSize()) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "masks: expected %,d values, one for each edge, got %,d",
              graph.maskSize(),
              size));
    }
  }
}
