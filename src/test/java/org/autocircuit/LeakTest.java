package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The resident set stays flat over thousands of calls, without JavaCPP's collector, so whatever is
 * not given back at once shows. The workloads run in a JVM of their own with a small heap. {@code
 * -Dautocircuit.soak=true} makes them 100,000 forward passes and 10,000 gradients.
 */
@Tag("slow")
class LeakTest {

  private static final double MOST_KB_PER_1000_ROUNDS = 250;
  private static final int MOST_SECONDS = 180; // about 30 on a machine that does nothing else

  private static final boolean SOAK = Boolean.getBoolean("autocircuit.soak");

  @TempDir Path folder;

  @Test
  void theResidentSetIsFlat() throws IOException {
    JavaProcess.Result result =
        new JavaProcess()
            .with("-Xms24m", "-Xmx24m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
            .with("-XX:+AlwaysPreTouch", "-Dorg.bytedeco.javacpp.noPointerGC=true")
            .with("-Djava.util.logging.config.file=" + quiet())
            .run(
                LeakWorkload.class,
                SOAK ? 20 * MOST_SECONDS : MOST_SECONDS,
                folder.resolve("model").toString(),
                Boolean.toString(SOAK));
    String output = result.output();
    assertThat(result.exitCode()).as(output).isZero();
    Map<String, Double> slopes = new HashMap<>();
    for (String line : output.lines().filter(l -> l.contains(" kB per 1000 rounds ")).toList()) {
      System.out.println("LeakTest: " + line);
      String[] words = line.split(" ", -1);
      slopes.put(words[0], Double.valueOf(words[1]));
    }
    for (LeakWorkload workload : LeakWorkload.values()) {
      assertThat(slopes).as(output).containsKey(workload.name());
      assertThat(slopes.get(workload.name())).as(output).isLessThan(MOST_KB_PER_1000_ROUNDS);
    }
  }

  /** Settings for a logger that says nothing of each of a thousand loads. */
  private Path quiet() throws IOException {
    return Files.writeString(folder.resolve("logging.properties"), ".level=WARNING\n");
  }
}
