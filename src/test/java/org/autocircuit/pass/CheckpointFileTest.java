package org.autocircuit.pass;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIOException;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CheckpointFileTest {

  private static final Map<String, String> SETTINGS = Map.of("model", "abc", "points", "5");

  @TempDir Path folder;

  private CheckpointFile open() throws IOException {
    return CheckpointFile.open(folder.resolve("ck"), SETTINGS);
  }

  @Test
  void keepsEachPartBitForBit() throws IOException {
    double[] numbers = {1.0 / 3, -0.0, Double.NaN, Double.POSITIVE_INFINITY, Double.MIN_VALUE};
    CheckpointFile file = open();
    assertThat(file.isResumed()).isFalse();
    assertThat(file.part("one").state()).isEmpty();
    file.part("one").keep(numbers);
    file.part("none").keep(new double[0]);
    file.part("two").keep(new double[] {7});
    file.part("two").keep(new double[] {8});

    CheckpointFile next = open();
    assertThat(next.isResumed()).isTrue();
    assertThat(next.part("one").state().orElseThrow()).isEqualTo(numbers);
    assertThat(next.part("none").state().orElseThrow()).isEmpty();
    assertThat(next.part("two").state().orElseThrow()).containsExactly(8);
    assertThat(next.part("three").state()).isEmpty();
    assertThat(CheckpointFile.parts(folder.resolve("ck")))
        .containsExactlyInAnyOrder("one", "none", "two");
    next.delete();
    next.delete();
    assertThat(open().isResumed()).isFalse();
    try (Stream<Path> files = Files.list(folder)) {
      assertThat(files).isEmpty();
    }
  }

  @Test
  void isWrittenByAThreadThatIsInterrupted() throws Exception {
    Checkpoint part = open().part("a");
    Thread writer = Thread.currentThread();
    Thread interrupting =
        new Thread(
            () -> {
              while (!Thread.interrupted()) {
                writer.interrupt();
                Thread.onSpinWait();
              }
            });
    interrupting.start();
    for (int i = 0; i < 50; i++) {
      part.keep(new double[] {i});
    }
    interrupting.interrupt();
    while (interrupting.isAlive()) {
      Thread.interrupted();
    }
    writer.interrupt();
    part.keep(new double[] {7});
    assertThat(Thread.interrupted()).isTrue();
    assertThat(open().part("a").state().orElseThrow()).containsExactly(7);
  }

  @Test
  void isWrittenNowAndThen() throws IOException {
    long[] clock = {0};
    Path path = folder.resolve("ck");
    Checkpoint part = CheckpointFile.open(path, SETTINGS, () -> clock[0]).part("a");
    part.reached(
        () -> {
          throw new AssertionError("too early");
        });
    assertThat(path).doesNotExist();
    clock[0] = 1_000_000_000;
    part.reached(() -> new double[] {1});
    assertThat(open().part("a").state().orElseThrow()).containsExactly(1);
    clock[0] += 999_999_999;
    part.reached(
        () -> {
          throw new AssertionError("too early");
        });
    part.keep(new double[] {2});
    assertThat(open().part("a").state().orElseThrow()).containsExactly(2);
  }

  @Test
  void anotherRunsFileIsRefusedByTheNameOfWhatDiffers() throws IOException {
    open().part("a").keep(new double[] {1});
    Path path = folder.resolve("ck");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CheckpointFile.open(path, Map.of("model", "abc", "points", "7")))
        .withMessage(path + " is of another run: points was 5, is 7");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CheckpointFile.open(path, Map.of("model", "abc")))
        .withMessageContaining("points was 5, is not set");
    assertThatIllegalArgumentException()
        .isThrownBy(
            () -> CheckpointFile.open(path, Map.of("model", "abc", "points", "5", "seed", "1")))
        .withMessageContaining("seed was not set, is 1");
  }

  @Test
  void whatIsNoCheckpointIsRefused() throws IOException {
    open().part("a").keep(new double[] {1, 2, 3});
    Path path = folder.resolve("ck");
    byte[] whole = Files.readAllBytes(path);
    for (int length = 0; length < whole.length; length++) {
      Files.write(path, Arrays.copyOf(whole, length));
      assertThatIOException()
          .isThrownBy(this::open)
          .withMessageContaining(path + ": no checkpoint");
    }
    for (int at = 0; at < whole.length; at++) {
      byte[] changed = whole.clone();
      changed[at] ^= 0x41;
      Files.write(path, changed);
      assertThatIOException()
          .as("byte %s", at)
          .isThrownBy(this::open)
          .withMessageContaining(path + ": no checkpoint");
    }
    Files.write(path, Arrays.copyOf(whole, whole.length + 1));
    assertThatIOException().isThrownBy(this::open);
    assertThat(CheckpointFile.parts(path)).isEmpty();
    assertThatIOException()
        .isThrownBy(() -> CheckpointFile.open(folder, SETTINGS))
        .withMessageContaining("cannot be read");
  }
}
