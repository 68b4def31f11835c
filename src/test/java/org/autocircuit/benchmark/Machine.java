package org.autocircuit.benchmark;

import java.io.PrintStream;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.autocircuit.internal.NativeMath;

/**
 * Holds what times were measured on, and whether they can be held against those of other machines.
 */
record Machine(String description, Map<String, String> overrides) {

  /** Environment variables that make OpenBLAS take other kernels than the processor's own. */
  private static final List<String> OVERRIDES = List.of("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE");

  static Machine current() {
    return of(NativeMath.machine(), System.getenv());
  }

  static Machine of(String description, Map<String, String> environment) {
    Map<String, String> overrides = new TreeMap<>(environment);
    overrides.keySet().retainAll(OVERRIDES);
    return new Machine(description, overrides);
  }

  boolean isComparable() {
    return overrides.isEmpty();
  }

  /** Stands above every table of times. */
  void print(PrintStream out) {
    out.println(description);
    overrides.forEach(
        (name, value) ->
            out.printf(
                "NOT COMPARABLE: %s=%s keeps OpenBLAS from this processor's own kernels; unset it"
                    + " to measure%n",
                name, value));
  }
}
