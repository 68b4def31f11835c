package org.autocircuit.benchmark;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.OptionalLong;

/** Measurements for people and for programs. */
final class BenchmarkReport {

  private static final String FORMAT = "%-11s %-34s %10s %8s %15s %6s %8s %9s %10s %10s%s%n";

  private BenchmarkReport() {}

  static void printTable(List<Measurement> measurements, PrintStream out) {
    out.printf(
        FORMAT,
        "size",
        "row",
        "ms",
        "x plain",
        "quartiles",
        "limit",
        "GFLOP",
        "GFLOP/s",
        "peak MB",
        "limit MB",
        "");
    for (Measurement m : measurements) {
      out.printf(
          FORMAT,
          m.size().label(),
          m.row().label(),
          String.format(Locale.ROOT, "%.3f", m.milliseconds()),
          ratio(m.ratio()),
          ratio(m.lowerQuartile()) + " - " + ratio(m.upperQuartile()),
          m.row().limit().isPresent()
              ? String.format(Locale.ROOT, "%.1f", m.row().limit().getAsDouble())
              : "",
          m.flops() == 0 ? "" : String.format(Locale.ROOT, "%.2f", m.flops() / 1e9),
          m.flops() == 0 ? "" : String.format(Locale.ROOT, "%.1f", m.gigaflopsPerSecond()),
          megabytes(m.peakBytes()),
          megabytes(m.peakLimit()),
          m.withinLimit() ? "" : "  over the limit");
    }
    out.println(
        """

        x plain: time of the row over that of the plain forward pass of its round, median of all rounds;
                 the mean where every round has a circuit of its own
        GFLOP:   of the matrix products that the row needs when every mask value counts (FlopCount)
        peak MB: how far the resident set rises above that of the loaded model, in a process of its own;
                 the limits are source buffers and what a plain backward of all blocks takes\
        """);
  }

  /**
   * Writes a list of {@code {row, size, ratio, limit}}. Where milliseconds or the peak of memory
   * are limited, they have entries of their own, whose ratio is to one millisecond or one megabyte.
   */
  static void writeRatios(List<Measurement> measurements, Path file) throws IOException {
    List<Map<String, Object>> entries = new ArrayList<>();
    for (Measurement m : measurements) {
      String row = m.row().label();
      entries.add(entry(m, row, m.ratio(), m.row().limit()));
      if (m.row().millisecondsLimit().isPresent()) {
        entries.add(entry(m, row + ", ms", m.milliseconds(), m.row().millisecondsLimit()));
      }
      if (m.peakLimit().isPresent()) {
        entries.add(
            entry(
                m,
                row + ", peak MB",
                m.peakBytes().getAsLong() / 1e6,
                OptionalDouble.of(m.peakLimit().getAsLong() / 1e6)));
      }
    }
    Files.createDirectories(file.toAbsolutePath().getParent());
    new ObjectMapper()
        .enable(SerializationFeature.INDENT_OUTPUT)
        .writeValue(file.toFile(), entries);
  }

  private static Map<String, Object> entry(
      Measurement m, String row, double ratio, OptionalDouble limit) {
    Map<String, Object> entry = new LinkedHashMap<>();
    entry.put("row", row);
    entry.put("size", m.size().label());
    entry.put("ratio", ratio);
    entry.put("limit", limit.isPresent() ? limit.getAsDouble() : null);
    return entry;
  }

  private static String megabytes(OptionalLong bytes) {
    return bytes.isPresent() ? String.format(Locale.ROOT, "%.1f", bytes.getAsLong() / 1e6) : "";
  }

  private static String ratio(double value) {
    return value < 0.1
        ? String.format(Locale.ROOT, "%.4f", value)
        : String.format(Locale.ROOT, "%.2f", value);
  }
}
