package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.BitSet;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;

/**
 * A grouped-query model with a destination for each key/value head, and the same one with a
 * destination for each query head, as the reference's graph has it: patching one of the former is
 * patching those of its group alike.
 */
record GroupedPair(GoldenModel grouped, GoldenModel ungrouped, GoldenOp op)
    implements AutoCloseable {

  /** The grouped one stays the caller's. */
  static GroupedPair of(GoldenModel grouped, GoldenOp op) {
    GroupedPair pair = new GroupedPair(grouped, new GoldenModel(grouped.golden(), true), op);
    assertThat(pair.ungrouped.graph().maskSize()).isGreaterThan(grouped.graph().maskSize());
    return pair;
  }

  /** Index in the grouped graph of each mask of the ungrouped one. */
  int[] indices() {
    int[] indices = new int[ungrouped.graph().maskSize()];
    for (DestModule all : ungrouped.graph().destModules()) {
      DestModule few = grouped.graph().destModule(all.moduleName());
      int rows = Math.max(all.rows(), 1);
      int perGroup = rows / Math.max(few.rows(), 1);
      int n = all.nSrcs();
      for (int row = 0; row < rows; row++) {
        for (int src = 0; src < n; src++) {
          indices[all.offset() + row * n + src] = few.offset() + row / perGroup * n + src;
        }
      }
    }
    return indices;
  }

  /** Returns what the reference was given for each query head: of each group, the first one's. */
  double[] firstOfGroup(double[] given) {
    int[] indices = indices();
    double[] first = new double[grouped.graph().maskSize()];
    for (int i = indices.length - 1; i >= 0; i--) {
      first[indices[i]] = given[i];
    }
    return first;
  }

  /** The same for each query head of a group. */
  double[] repeated(double[] values) {
    return Arrays.stream(indices()).mapToDouble(i -> values[i]).toArray();
  }

  /** Gradients of the query heads of a group together; of each example by itself. */
  double[] summed(double[] gradients) {
    int[] indices = indices();
    int size = grouped.graph().maskSize();
    double[] sum = new double[gradients.length / indices.length * size];
    for (int i = 0; i < gradients.length; i++) {
      sum[i / indices.length * size + indices[i % indices.length]] += gradients[i];
    }
    return sum;
  }

  /** The edges of the ungrouped graph that are edges of the grouped one. */
  EdgeSet ungrouped(EdgeSet edges) {
    BitSet some = new BitSet();
    edges.indices().forEach(some::set);
    BitSet all = new BitSet();
    int[] indices = indices();
    for (int i = 0; i < indices.length; i++) {
      all.set(i, some.get(indices[i]));
    }
    return EdgeSet.ofIndices(ungrouped.graph(), all);
  }

  ModelGraph graph() {
    return grouped.graph();
  }

  void assertClose(String what, double[] actual, double[] expected) {
    assertThat(actual).as("%s: %s", op, what).hasSameSizeAs(expected);
    for (int i = 0; i < actual.length; i++) {
      assertThat(actual[i])
          .as("%s: %s %d", op, what, i)
          .isCloseTo(expected[i], within(1e-4 + 1e-4 * Math.abs(expected[i])));
    }
  }

  @Override
  public void close() {
    ungrouped.close();
  }
}
