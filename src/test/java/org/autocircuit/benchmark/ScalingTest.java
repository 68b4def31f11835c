package org.autocircuit.benchmark;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.autocircuit.Threads;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** That it runs and reports, not how fast anything is. */
@Tag("slow")
class ScalingTest {

  @Test
  void printsBothTablesAndLeavesTheThreadsAlone() throws Exception {
    int threads = Threads.get();
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    PrintStream out = new PrintStream(printed, true, StandardCharsets.UTF_8);

    new Scaling(BenchmarkSize.TINY, 1, 1e6, out).run();

    assertThat(Threads.get()).isEqualTo(threads);
    assertThat(printed.toString(StandardCharsets.UTF_8).lines())
        .contains("threads: round 1 of 1", "callers: round 1 of 1")
        .anyMatch(line -> line.matches("threads +plain ms +times +dense ms +times"))
        .anyMatch(line -> line.matches("callers +plain /s +times +circuit /s +times"))
        .anyMatch(line -> line.matches("8( +[0-9.]+){4}"));
  }
}
