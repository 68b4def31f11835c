package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import org.junit.jupiter.api.RepeatedTest;

class ShutdownTest {

  @RepeatedTest(3)
  void theJvmEndsInPeaceWhileThreadsAreInsidePasses() throws IOException {
    JavaProcess.Result result =
        new JavaProcess()
            .with("-Dorg.bytedeco.javacpp.maxPhysicalBytes=0")
            .run(ShutdownWorkload.class, 120);
    assertThat(result.exitCode()).as(result.output()).isZero();
    // A thread that was inside a pass came out of it and was refused the next one.
    assertThat(result.output())
        .contains("the JVM is shutting down")
        .doesNotContain("SIGSEGV", "may crash");
  }
}
