package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.time.Duration;
import org.junit.jupiter.api.Test;

class PhaseProgressTest {

  private final StringWriter text = new StringWriter();
  private long seconds;

  private PhaseProgress progress() {
    return PhaseProgress.lines("circuits", new PrintWriter(text), () -> seconds * 1_000_000_000);
  }

  @Test
  void quickPhasesAreSilent() {
    try (PhaseProgress progress = progress()) {
      for (int done = 1; done <= 100; done++) {
        progress.report(done, 100);
      }
      seconds = 2;
      progress.report(100, 100);
    }
    assertThat(text.toString()).isEmpty();
  }

  @Test
  void whatTakesLongSaysSoMoreThanOnce() {
    StringBuffer lines = text.getBuffer();
    try (PhaseProgress progress =
        PhaseProgress.waiting("loading", new PrintWriter(text, true), 5, 5)) {
      assertTimeoutPreemptively(
          Duration.ofSeconds(60),
          () -> {
            while (lines.toString().lines().count() < 3) {
              Thread.sleep(5);
            }
          });
    }
    assertThat(lines.toString().lines()).allMatch("loading: 0 s ..."::equals);
  }

  @Test
  void longPhasesSayNowAndThenHowFarTheyAre() {
    try (PhaseProgress progress = progress()) {
      for (int done = 1; done < 100; done++) {
        seconds = done;
        progress.report(done, 100);
      }
    }
    assertThat(text.toString().lines()).hasSize(10);
    assertThat(text.toString()).startsWith("circuits: 2 of 100 (2 %), 2 s, about 98 s left");
  }

  @Test
  void theTimeLeftOfARunThatResumesIsThatOfItsOwnSteps() {
    try (PhaseProgress progress = progress()) {
      progress.report(91, 100);
      seconds = 10;
      progress.report(95, 100);
    }
    assertThat(text.toString().strip())
        .isEqualTo("circuits: 95 of 100 (95 %), 10 s, about 10 s left");
  }

  @Test
  void timesAreAsPeopleSayThem() {
    assertThat(PhaseProgress.duration(0.4)).isEqualTo("0 s");
    assertThat(PhaseProgress.duration(119.4)).isEqualTo("119 s");
    assertThat(PhaseProgress.duration(150)).isEqualTo("3 min");
    assertThat(PhaseProgress.duration(7500)).isEqualTo("2 h 5 min");
  }
}
