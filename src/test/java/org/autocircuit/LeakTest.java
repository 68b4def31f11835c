package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The resident set stays flat over thousands of calls, without JavaCPP's collector, so whatever is
 * not given back at once shows. Each workload runs in a JVM of its own with a small heap.
 */
@Tag("slow")
class LeakTest {

  private static final double MOST_BYTES_PER_ROUND = 500;

  @TempDir Path folder;

  @ParameterizedTest
  @EnumSource
  void theResidentSetIsFlat(LeakWorkload workload) throws IOException, InterruptedException {
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
                workload.name(),
                folder.toString()));
    Path report = folder.resolve("report");
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(report.toFile());
    builder.environment().put("MALLOC_ARENA_MAX", "2");
    builder.environment().put("OMP_NUM_THREADS", "1");
    Process process = builder.start();
    boolean ended = process.waitFor(90, TimeUnit.SECONDS);
    process.destroyForcibly();
    String output = Files.readString(report);
    assertThat(ended).as("ended within 90 seconds: " + output).isTrue();
    assertThat(process.exitValue()).as(output).isZero();
    String last = output.lines().reduce((a, b) -> b).orElseThrow();
    System.out.println("LeakTest " + last);
    double slope = Double.parseDouble(last.split(" ")[1]);
    assertThat(slope).as(output).isLessThan(MOST_BYTES_PER_ROUND);
  }
}
