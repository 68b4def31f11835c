package org.autocircuit.pass;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UTFDataFormatException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedByInterruptException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.LongSupplier;
import java.util.function.Supplier;
import java.util.zip.CRC32;
import java.util.zip.CheckedInputStream;
import java.util.zip.CheckedOutputStream;
import org.autocircuit.internal.AtomicFile;

/**
 * A file of {@linkplain Checkpoint checkpoints}, one for each part of a run, that outlives the
 * process. It is written whole or not at all: now and then while a call runs, so that writing takes
 * a twentieth of the time at most, and when one ends or is stopped.
 *
 * <pre>{@code
 * CheckpointFile file = CheckpointFile.open(path, Map.of("model", hash, "points", "5"));
 * PruneScores scores =
 *     algorithm.pruneScores(model, batches, Progress.NONE, file.part("attribution"));
 * file.delete();
 * }</pre>
 *
 * <p>The settings say which run it is of; the file of another one is refused. For one thread.
 */
public final class CheckpointFile {

  private static final String MAGIC = "autocircuit-checkpoint 1";
  private static final int MOST_ENTRIES = 1 << 16;
  private static final long LEAST_NANOS = 1_000_000_000L;

  /** So many times as long as the last writing took passes until the next one. */
  private static final long SHARE = 20;

  private final Path file;
  private final Map<String, String> settings;
  private final Map<String, double[]> parts;
  private final boolean resumed;
  private final LongSupplier clock;
  private long next;

  private CheckpointFile(
      Path file, Map<String, String> settings, Map<String, double[]> parts, LongSupplier clock) {
    this.file = file;
    this.settings = settings;
    this.parts = parts;
    this.clock = clock;
    resumed = !parts.isEmpty();
    next = clock.getAsLong() + LEAST_NANOS;
  }

  /**
   * Opens a file, or begins one that is not there yet.
   *
   * @param settings all that the result depends on
   * @throws IOException if it cannot be read, or is no such file, or is cut off
   * @throws IllegalArgumentException if it is of a run with other settings; names one that differs
   */
  public static CheckpointFile open(Path file, Map<String, String> settings) throws IOException {
    return open(file, settings, System::nanoTime);
  }

  /**
   * The names of the parts that a file has a state of, whatever its settings; none if it is no such
   * file.
   */
  public static Set<String> parts(Path file) {
    Map<String, double[]> parts = new LinkedHashMap<>();
    try (InputStream in = Files.newInputStream(file)) {
      read(in, Files.size(file), new LinkedHashMap<>(), parts);
      return Set.copyOf(parts.keySet());
    } catch (IOException e) {
      return Set.of();
    }
  }

  /** As {@link #open(Path, Map)}, by a clock of nanoseconds. */
  static CheckpointFile open(Path file, Map<String, String> settings, LongSupplier clock)
      throws IOException {
    Map<String, String> expected = new LinkedHashMap<>(settings);
    Map<String, double[]> parts = new LinkedHashMap<>();
    if (Files.exists(file)) {
      Map<String, String> found = new LinkedHashMap<>();
      try (InputStream in = Files.newInputStream(file)) {
        read(in, Files.size(file), found, parts);
      } catch (EOFException | UTFDataFormatException e) {
        throw new IOException(file + ": no checkpoint, or a part of one", e);
      } catch (IOException e) {
        throw new IOException("%s: cannot be read: %s".formatted(file, e.getMessage()), e);
      }
      requireSame(file, expected, found);
    }
    return new CheckpointFile(file, expected, parts, clock);
  }

  /** Returns whether there is anything to resume. */
  public boolean isResumed() {
    return resumed;
  }

  /** The file. */
  public Path file() {
    return file;
  }

  /** The checkpoint of one part of the run, whose calls follow each other. */
  public Checkpoint part(String name) {
    Objects.requireNonNull(name, "name");
    return new Checkpoint() {
      @Override
      public Optional<double[]> state() {
        return Optional.ofNullable(parts.get(name)).map(double[]::clone);
      }

      @Override
      public void keep(double[] state) {
        parts.put(name, state.clone());
        write();
      }

      @Override
      public void reached(Supplier<double[]> state) {
        if (clock.getAsLong() - next >= 0) {
          keep(state.get());
        }
      }
    };
  }

  /**
   * Deletes the file at the end of the run. Does nothing if it is not there.
   *
   * @throws IOException if it cannot be deleted
   */
  public void delete() throws IOException {
    parts.clear();
    Files.deleteIfExists(file);
  }

  private void write() {
    long begin = clock.getAsLong();
    boolean interrupted = false;
    boolean written = false;
    try {
      while (!written) {
        // An interrupt stops the call, and must not keep its state from being written.
        interrupted |= Thread.interrupted();
        try {
          AtomicFile.writeLast(file, this::write);
          written = true;
        } catch (IOException e) {
          if (!(e.getCause() instanceof ClosedByInterruptException)) {
            throw new UncheckedIOException(e);
          }
        }
      }
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
    long end = clock.getAsLong();
    next = end + Math.max(LEAST_NANOS, SHARE * (end - begin));
  }

  private void write(OutputStream stream) throws IOException {
    CheckedOutputStream checked = new CheckedOutputStream(stream, new CRC32());
    DataOutputStream out = new DataOutputStream(checked);
    out.writeUTF(MAGIC);
    out.writeInt(settings.size());
    for (Map.Entry<String, String> setting : settings.entrySet()) {
      out.writeUTF(setting.getKey());
      out.writeUTF(setting.getValue());
    }
    out.writeInt(parts.size());
    for (Map.Entry<String, double[]> part : parts.entrySet()) {
      out.writeUTF(part.getKey());
      out.writeInt(part.getValue().length);
      ByteBuffer numbers = ByteBuffer.allocate(Math.multiplyExact(8, part.getValue().length));
      numbers.asDoubleBuffer().put(part.getValue());
      out.write(numbers.array());
    }
    out.writeLong(checked.getChecksum().getValue());
    out.flush();
  }

  private static void read(
      InputStream stream, long bytes, Map<String, String> settings, Map<String, double[]> parts)
      throws IOException {
    CheckedInputStream checked = new CheckedInputStream(stream, new CRC32());
    DataInputStream in = new DataInputStream(checked);
    require(MAGIC.equals(in.readUTF()));
    for (int n = count(in, MOST_ENTRIES); n > 0; n--) {
      settings.put(in.readUTF(), in.readUTF());
    }
    for (int n = count(in, MOST_ENTRIES); n > 0; n--) {
      String name = in.readUTF();
      double[] numbers = new double[count(in, bytes / 8)];
      byte[] read = in.readNBytes(8 * numbers.length);
      require(read.length == 8 * numbers.length);
      ByteBuffer.wrap(read).asDoubleBuffer().get(numbers);
      parts.put(name, numbers);
    }
    long sum = checked.getChecksum().getValue();
    require(in.readLong() == sum && in.read() < 0);
  }

  private static int count(DataInputStream in, long most) throws IOException {
    int count = in.readInt();
    require(count >= 0 && count <= Math.min(most, Integer.MAX_VALUE / 8));
    return count;
  }

  private static void require(boolean holds) throws EOFException {
    if (!holds) {
      throw new EOFException();
    }
  }

  private static void requireSame(
      Path file, Map<String, String> expected, Map<String, String> found) {
    TreeSet<String> names = new TreeSet<>(expected.keySet());
    names.addAll(found.keySet());
    for (String name : names) {
      String before = found.get(name);
      String now = expected.get(name);
      if (!Objects.equals(before, now)) {
        throw new IllegalArgumentException(
            "%s is of another run: %s was %s, is %s"
                .formatted(
                    file,
                    name,
                    before == null ? "not set" : before,
                    now == null ? "not set" : now));
      }
    }
  }
}
