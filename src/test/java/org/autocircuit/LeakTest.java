package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The resident set stays flat over thousands of calls, without JavaCPP's collector, so whatever is
 * not given back at once shows. The workloads run in a JVM of their own with a small heap.
 */
@Tag("slow")
class LeakTest {

  private static final double MOST_BYTES_PER_ROUND = 250;
  private static final int MOST_SECONDS = 180; // about 30 on a machine that does nothing else

  @TempDir Path folder;

  @Test
  void theResidentSetIsFlat() throws IOException, InterruptedException {
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xms24m",
                "-Xmx24m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-XX:+AlwaysPreTouch",
                "-Dorg.bytedeco.javacpp.noPointerGC=true",
                "-cp",
                System.getProperty("java.class.path"),
                LeakWorkload.class.getName(),
                folder.resolve("model").toString()));
    Path report = folder.resolve("report");
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(report.toFile());
    builder.environment().put("MALLOC_ARENA_MAX", "2");
    builder.environment().put("OMP_NUM_THREADS", "1");
    Process process = builder.start();
    boolean ended = process.waitFor(MOST_SECONDS, TimeUnit.SECONDS);
    process.destroyForcibly();
    String output = Files.readString(report);
    assertThat(ended).as("ended within %d seconds: %s", MOST_SECONDS, output).isTrue();
    assertThat(process.exitValue()).as(output).isZero();
    Map<String, Double> slopes = new HashMap<>();
    for (String line : output.lines().filter(l -> l.contains(" bytes a round ")).toList()) {
      System.out.println("LeakTest: " + line);
      String[] words = line.split(" ", -1);
      slopes.put(words[0], Double.valueOf(words[1]));
    }
    for (LeakWorkload workload : LeakWorkload.values()) {
      assertThat(slopes).as(output).containsKey(workload.name());
      assertThat(slopes.get(workload.name())).as(output).isLessThan(MOST_BYTES_PER_ROUND);
    }
  }
}
