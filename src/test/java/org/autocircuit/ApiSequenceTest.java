package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.logging.Logger;
import org.bytedeco.javacpp.Pointer;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * Random sequences of calls do what the contracts say, and leave nothing behind. {@code
 * -Dautocircuit.sequences=N} runs more of them.
 */
class ApiSequenceTest {

  private static final int SEQUENCES = Integer.getInteger("autocircuit.sequences", 100);
  private static final int CALLS = 100;

  /** Held, since Java forgets the settings of loggers that nobody holds. */
  private static final Logger SCOPES = Logger.getLogger("org.autocircuit.scopes");

  private static int threadsBefore;

  @BeforeAll
  static void oneThreadForEachCall() {
    threadsBefore = Threads.get();
    Threads.set(1);
    // Thousands of modes are left open on purpose.
    SCOPES.setUseParentHandlers(false);
  }

  @AfterAll
  static void restoreThreads() {
    Threads.set(threadsBefore);
    SCOPES.setUseParentHandlers(true);
  }

  @Test
  @Tag("slow")
  void randomCallsDoWhatTheContractsSay() {
    try (ApiSequenceReference reference = new ApiSequenceReference()) {
      for (int seed = 0; seed < SEQUENCES; seed++) {
        run(seed, reference);
      }
    }
  }

  /** JavaCPP counts its objects only where its collector is on. */
  @Test
  @Tag("collector")
  void noNativeObjectIsLeftAfterASequence() {
    try (ApiSequenceReference reference = new ApiSequenceReference()) {
      run(0, reference);
      long before = Pointer.totalCount();
      assertThat(before).isPositive();
      for (int seed = 1; seed <= SEQUENCES / 5; seed++) {
        run(seed, reference);
        assertThat(Pointer.totalCount())
            .as("native objects after sequence %d", seed)
            .isEqualTo(before);
      }
    }
  }

  private static void run(int seed, ApiSequenceReference reference) {
    try {
      new ApiSequence(seed, reference).run(CALLS);
    } catch (AssertionError e) {
      throw new AssertionError("sequence " + seed, e);
    }
  }
}
