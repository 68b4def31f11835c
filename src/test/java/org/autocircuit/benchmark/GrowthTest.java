package org.autocircuit.benchmark;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Tests that memory grows at most linearly; times are not looked at. */
@Tag("slow")
class GrowthTest {

  @Test
  void memoryOfGradientsGrowsLinearly() {
    ByteArrayOutputStream printed = new ByteArrayOutputStream();

    new Growth(1, new PrintStream(printed, true, StandardCharsets.UTF_8)).run();

    assertThat(printed.toString(StandardCharsets.UTF_8).lines())
        .hasSize(13)
        .filteredOn(line -> line.startsWith("mask gradient") && !line.contains("tokens"))
        .hasSize(3)
        .allSatisfy(
            line ->
                assertThat(Double.parseDouble(line.substring(line.lastIndexOf(' ') + 1)))
                    .isLessThan(1.1));
  }
}
