package org.autocircuit.benchmark;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.autocircuit.Workspaces;

/**
 * By how much the resident set grows at most over that of the loaded model, in processes of their
 * own. Source activations count; what the libraries and the JVM set up on first use does not.
 */
final class PeakMemory {

  private static final int PROCESSES = 3;
  private static final int RUNS = 2;
  private static final String RESULT = "peak_bytes=";
  private static final Path STATUS = Path.of("/proc/self/status");

  // The heap is there from the start, so that its growth is not taken for the model's.
  private static final List<String> JVM =
      List.of("-Xms256m", "-Xmx256m", "-XX:+AlwaysPreTouch", "-XX:+UseSerialGC");

  private PeakMemory() {}

  /** Returns whether this system tells. */
  static boolean isAvailable() {
    return Files.isReadable(STATUS) && Files.isWritable(Path.of("/proc/self/clear_refs"));
  }

  /** The median of fresh processes: what the system does with idle pages varies. */
  static long median(BenchmarkSize size, Row row) throws IOException, InterruptedException {
    double[] peaks = new double[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
      peaks[i] = fork(size, row);
    }
    Arrays.sort(peaks);
    return (long) Measurement.quantile(peaks, 0.5);
  }

  private static long fork(BenchmarkSize size, Row row) throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(ProcessHandle.current().info().command().orElse("java"));
    command.addAll(JVM);
    command.add("-Dorg.bytedeco.javacpp.maxPhysicalBytes=0");
    command.add("-Dorg.bytedeco.javacpp.logger=slf4j");
    command.add("-D" + Benchmarks.THREADS + "=" + System.getProperty(Benchmarks.THREADS, ""));
    command.addAll(List.of("-cp", System.getProperty("java.class.path")));
    command.addAll(List.of(PeakMemory.class.getName(), size.name(), row.name()));
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    Matcher peak = Pattern.compile(RESULT + "(\\d+)").matcher(output);
    if (process.waitFor() != 0 || !peak.find()) {
      throw new IOException("no peak of %s at %s: %s".formatted(row, size.label(), output));
    }
    return Long.parseLong(peak.group(1));
  }

  /** Prints the peak of a size and a row. */
  public static void main(String[] arguments) throws IOException {
    Benchmarks.setThreads();
    try (Workload small = new Workload(BenchmarkSize.TINY)) {
      Row.valueOf(arguments[1]).run(small);
    }
    try (Workload workload = new Workload(BenchmarkSize.valueOf(arguments[0]))) {
      workload.plainForward(); // OpenBLAS packs weights into memory of its own
      long limit = Workspaces.limit();
      Workspaces.setLimit(0);
      Workspaces.setLimit(limit);
      Files.writeString(Path.of("/proc/self/clear_refs"), "5"); // the peak counts from here
      long before = kilobytes("VmRSS");
      for (int i = 0; i < RUNS; i++) {
        Row.valueOf(arguments[1]).run(workload);
      }
      System.out.println(RESULT + 1024 * Math.max(0, kilobytes("VmHWM") - before));
    }
  }

  /** A field of this process's status. */
  static long kilobytes(String field) throws IOException {
    Matcher line = Pattern.compile(field + ":\\s+(\\d+) kB").matcher(Files.readString(STATUS));
    if (!line.find()) {
      throw new IOException(STATUS + " has no " + field);
    }
    return Long.parseLong(line.group(1));
  }
}
