package org.autocircuit.benchmark;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.autocircuit.Threads;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** That it runs and reports, not how fast anything is. */
@Tag("slow")
class BusyNeighbourTest {

  @Test
  void printsALineForEachRowAndLeavesTheThreadsAlone() throws Exception {
    int threads = Threads.get();
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    PrintStream out = new PrintStream(printed, true, StandardCharsets.UTF_8);

    new BusyNeighbour(List.of(BenchmarkSize.TINY), 1, 0, out).run();

    assertThat(Threads.get()).isEqualTo(threads);
    assertThat(printed.toString(StandardCharsets.UTF_8).lines())
        .filteredOn(line -> line.matches("tiny .*( +[0-9.]+){5}"))
        .hasSize(5);
  }
}
