package org.autocircuit.fuzz;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import org.autocircuit.Allocation;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Damaged files of every kind that is read. Each loads all the same or is refused by the exception
 * that the reader documents, within a second of processor time, taking no more memory than a file
 * of its size justifies.
 *
 * <p>{@code -Dautocircuit.fuzz.files=10000} sets how many of each kind, {@code
 * -Dautocircuit.fuzz.seed} which. A file that fails, or that ends the process, is left in {@code
 * target/fuzz}.
 */
@Tag("slow")
class MutatedFilesTest {

  private static final int FILES = Integer.getInteger("autocircuit.fuzz.files", 100);
  private static final long SEED = Long.getLong("autocircuit.fuzz.seed", 1);
  private static final Path KEPT = Path.of("target", "fuzz");

  private static final long MAX_NANOSECONDS = TimeUnit.SECONDS.toNanos(1);
  private static final long MAX_HEAP_BYTES = 4 << 20;
  private static final long HEAP_BYTES_PER_BYTE = 100;
  private static final long MAX_PROCESS_BYTES = 16 << 20;

  @TempDir Path folder;

  @ParameterizedTest
  @EnumSource
  @Timeout(value = 30, unit = TimeUnit.MINUTES, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
  void loadOrAreRefused(FuzzTarget target) throws IOException {
    Files.createDirectories(KEPT);
    List<Path> files = new ArrayList<>();
    List<byte[]> samples = new ArrayList<>();
    for (int sample = 0; sample < target.samples(); sample++) {
      Path file = target.file(Files.createDirectory(folder.resolve(Integer.toString(sample))));
      target.write(sample, file.getParent());
      target.read(file); // also loads what is loaded once: classes, native libraries
      files.add(file);
      samples.add(Files.readAllBytes(file));
    }
    Cost worst = new Cost(0, 0, 0);
    int refused = 0;
    for (int i = 0; i < FILES; i++) {
      Mutator mutator = new Mutator(SEED * 1_000_003 + i);
      Path file = mutator.any(files);
      byte[] bytes = mutator.mutate(samples.get(files.indexOf(file)), target.form());
      Path kept = KEPT.resolve("%s-%s-%s".formatted(target, SEED, i));
      Files.write(kept, bytes);
      Files.write(file, bytes);
      Cost before = Cost.now();
      Throwable thrown = outcome(target, file);
      Cost cost = Cost.now().minus(before);
      assertThat(thrown == null || target.isRefusal(thrown))
          .withFailMessage(() -> "%s: %s".formatted(kept, thrown))
          .isTrue();
      assertThat(cost.nanoseconds).as("time of %s", kept).isLessThan(MAX_NANOSECONDS);
      assertThat(cost.heapBytes)
          .as("heap of %s", kept)
          .isLessThan(MAX_HEAP_BYTES + HEAP_BYTES_PER_BYTE * bytes.length);
      assertThat(cost.processBytes)
          .as("memory of %s", kept)
          .isLessThan(MAX_PROCESS_BYTES + HEAP_BYTES_PER_BYTE * bytes.length);
      Files.delete(kept);
      worst = worst.max(cost);
      refused += thrown == null ? 0 : 1;
    }
    assertThat(refused).isGreaterThan(FILES / 4);
    if (System.getProperty("autocircuit.fuzz.files") != null) {
      System.out.printf("%s: %,d files, %,d refused, at most %s%n", target, FILES, refused, worst);
    }
  }

  private static Throwable outcome(FuzzTarget target, Path file) {
    try {
      target.read(file);
      return null;
    } catch (Exception | StackOverflowError | OutOfMemoryError e) {
      return e;
    }
  }

  /**
   * Holds what reading takes: processor time and heap of this thread, address space of the process.
   */
  private record Cost(long nanoseconds, long heapBytes, long processBytes) {

    static Cost now() throws IOException {
      long kilobytes =
          Files.readAllLines(Path.of("/proc/self/status")).stream()
              .filter(line -> line.startsWith("VmPeak:"))
              .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")))
              .sum();
      long time = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
      return new Cost(time, Allocation.bytes(), kilobytes << 10);
    }

    Cost minus(Cost other) {
      return new Cost(
          nanoseconds - other.nanoseconds,
          heapBytes - other.heapBytes,
          processBytes - other.processBytes);
    }

    Cost max(Cost other) {
      return new Cost(
          Math.max(nanoseconds, other.nanoseconds),
          Math.max(heapBytes, other.heapBytes),
          Math.max(processBytes, other.processBytes));
    }

    @Override
    public String toString() {
      return String.format(
          Locale.ROOT,
          "%d ms, %,d bytes of heap, %,d of address space",
          TimeUnit.NANOSECONDS.toMillis(nanoseconds),
          heapBytes,
          processBytes);
    }
  }
}
