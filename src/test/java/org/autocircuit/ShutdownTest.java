package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.Test;

/** The JVM ends, in peace and soon, while threads are inside the library. */
class ShutdownTest {

  /** The exit code of SIGTERM in a shell, and of a JVM whose hook ends after it. */
  private static final int TERMINATED = 143;

  private static JavaProcess java() {
    return new JavaProcess().with("-Dorg.bytedeco.javacpp.maxPhysicalBytes=0");
  }

  @RepeatedTest(3)
  void passes() throws IOException {
    JavaProcess.Result result = java().run(ShutdownWorkload.class, 120, "passes");
    assertThat(result.exitCode()).as(result.output()).isZero();
    // A thread that was inside a pass came out of it and was refused the next one.
    assertThat(result.output())
        .contains("the JVM is shutting down")
        .doesNotContain("SIGSEGV", "may crash");
  }

  /** Each ends after the step that it is in, and says what it was about to do no more. */
  @RepeatedTest(2)
  void longCallsStop() throws IOException {
    int calls = Math.toIntExact(ShutdownWorkload.names().count());
    JavaProcess.Result result =
        java().terminate(ShutdownWorkload.class, 120, ShutdownWorkload.RUNNING, calls, "calls");
    assertThat(result.exitCode()).as(result.output()).isEqualTo(TERMINATED);
    assertThat(result.output()).doesNotContain("SIGSEGV", "may crash", "failed");
    assertThat(result.output().lines())
        .containsAll(
            ShutdownWorkload.names()
                .map(name -> name + " stopped: the JVM is shutting down" + partial(name))
                .toList());
  }

  private static String partial(String name) {
    return switch (name) {
      case "gradients", "edges", "acdc" -> ", with scores";
      default -> "";
    };
  }

  /** Each thread comes out of it and is refused the next one; LibTorch's own would go on. */
  @RepeatedTest(6)
  void backward() throws IOException {
    JavaProcess.Result result =
        java()
            .terminate(
                ShutdownWorkload.class,
                120,
                ShutdownWorkload.RUNNING,
                ShutdownWorkload.THREADS,
                "backward");
    assertThat(result.exitCode()).as(result.output()).isEqualTo(TERMINATED);
    assertThat(result.output()).doesNotContain("SIGSEGV", "may crash");
    assertThat(result.output().lines().filter("stopped: the JVM is shutting down"::equals))
        .as(result.output())
        .hasSize(ShutdownWorkload.THREADS);
  }

  /** A thread that has called System.exit never comes back: nobody waits for its call. */
  @Test
  void exitFromAListener() throws IOException {
    long begin = System.nanoTime();
    JavaProcess.Result result = java().run(ShutdownWorkload.class, 120, "listener");
    assertThat(result.exitCode()).as(result.output()).isEqualTo(7);
    assertThat((System.nanoTime() - begin) / 1e9).as("seconds").isLessThan(25);
  }
}
