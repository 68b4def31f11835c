package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/**
 * The outputs of circuits on every batch of a data set. Where scores tie, a circuit has more edges
 * than were asked for; sizes here are those that circuits really have. Plain Java data, immutable.
 */
public final class CircuitOutputs {

  private final Map<Integer, List<Logits>> outputs;

  CircuitOutputs(Map<Integer, List<Logits>> outputs) {
    Map<Integer, List<Logits>> copy = new LinkedHashMap<>();
    outputs.forEach((edges, logits) -> copy.put(edges, List.copyOf(logits)));
    this.outputs = Collections.unmodifiableMap(copy);
  }

  /** The sizes of the circuits, in the order in which they were asked for. */
  public Set<Integer> sizes() {
    return outputs.keySet();
  }

  /**
   * The outputs of the circuit with that many edges, one for each batch.
   *
   * @throws IllegalArgumentException if no circuit has that size
   */
  public List<Logits> of(int edges) {
    List<Logits> found = outputs.get(edges);
    if (found == null) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "no circuit of %,d edges was run, only of %s",
              edges,
              new ArrayList<>(sizes())));
    }
    return found;
  }

  /** The sizes. */
  @Override
  public String toString() {
    return "CircuitOutputs of " + sizes() + " edges";
  }
}
