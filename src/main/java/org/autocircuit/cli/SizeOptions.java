package org.autocircuit.cli;

import java.util.List;
import java.util.Locale;
import java.util.TreeSet;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;

/** Options that say how large the circuits are. */
final class SizeOptions {

  private static final List<Double> DEFAULT = List.of(0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0);

  @Option(
      names = "--sizes",
      paramLabel = "PERCENT",
      split = ",",
      description =
          "Sizes of circuits in per cent of all edges, rounded down to 1 edge or more. All edges whose scores equal the"
              + " last one's come in, too. Default: 0.5,1,2,5,10,20,50,100 unless --edges are given.")
  private List<Double> sizes;

  @Option(
      names = "--edges",
      paramLabel = "N",
      split = ",",
      description = "Sizes of circuits in numbers of edges; ties as with --sizes.")
  private List<Integer> edges;

  void check(CommandSpec spec) {
    if (sizes != null && sizes.stream().anyMatch(percent -> !(percent >= 0 && percent <= 100))) {
      throw new ParameterException(
          spec.commandLine(), "--sizes must be per cent from 0 to 100, got " + sizes);
    }
    if (edges != null && edges.stream().anyMatch(count -> count < 0)) {
      throw new ParameterException(
          spec.commandLine(), "--edges must not be negative, got " + edges);
    }
  }

  /** The sizes for a graph, ascending. */
  List<Integer> sizes(CommandSpec spec, int nEdges) {
    TreeSet<Integer> counts = new TreeSet<>();
    if (edges != null) {
      counts.addAll(edges);
    }
    if (sizes != null || edges == null) {
      for (double percent : sizes == null ? DEFAULT : sizes) {
        counts.add(percent == 0 ? 0 : Circuits.size(nEdges, percent / 100));
      }
    }
    if (counts.last() > nEdges) {
      throw new ParameterException(
          spec.commandLine(),
          String.format(
              Locale.ROOT, "--edges %,d: the graph has only %,d edges", counts.last(), nEdges));
    }
    return List.copyOf(counts);
  }
}
