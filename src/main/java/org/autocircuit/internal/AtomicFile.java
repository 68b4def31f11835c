package org.autocircuit.internal;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * Writes a file beside its final place and renames it, so that a reader sees the old file or the
 * new one, and a failure, a full disk or the end of the process leaves the old one as it was. Where
 * the place is a symbolic link, the file that it leads to is replaced; what is no regular file, for
 * instance {@code /dev/stdout}, is written to in place.
 *
 * <p>Exceptions say which file could not be written, and why.
 */
public final class AtomicFile {

  /** As much as is written to find out whether anything can be. */
  private static final int PROBE_BYTES = 1 << 16;

  private static final int MAX_LINKS = 40;
  private static final Path PROCESSES = Path.of("/proc");

  /** Writes the whole content of a file. */
  @FunctionalInterface
  public interface Content {
    /** Writes to a channel, which stays open. */
    void writeTo(FileChannel channel) throws IOException;
  }

  /** Writes the whole content of a file as a stream. */
  @FunctionalInterface
  public interface StreamContent {
    /** Writes to a buffered stream, which stays open. */
    void writeTo(OutputStream stream) throws IOException;
  }

  private AtomicFile() {}

  /**
   * Writes a file.
   *
   * @throws IOException if it cannot be written
   */
  public static void write(Path target, Content content) throws IOException {
    try {
      Path place = place(target);
      if (isSpecial(place)) {
        try (FileChannel channel =
            FileChannel.open(
                place, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
          content.writeTo(channel);
        }
        return;
      }
      try (Temporary temporary = Temporary.in(place.getParent())) {
        content.writeTo(temporary.channel());
        temporary.channel().force(true);
        temporary.moveTo(place);
      }
    } catch (IOException e) {
      throw failure(target, e);
    }
  }

  /** As {@link #write(Path, Content)}, of what comes as a stream. */
  public static void writeStream(Path target, StreamContent content) throws IOException {
    write(target, channel -> writeTo(channel, content));
  }

  /**
   * As {@link #writeStream}, also while the JVM shuts down, for what tells the next process how far
   * this one was: on a thread whose end the shutdown waits for.
   */
  public static void writeLast(Path target, StreamContent content) throws IOException {
    try {
      Path place = place(target);
      if (isSpecial(place)) {
        throw new FileSystemException(place.toString(), null, "it is no file that can be replaced");
      }
      try (Temporary temporary = Temporary.lastIn(place.getParent())) {
        writeTo(temporary.channel(), content);
        temporary.channel().force(true);
        temporary.moveTo(place);
      }
    } catch (IOException e) {
      throw failure(target, e);
    }
  }

  private static void writeTo(FileChannel channel, StreamContent content) throws IOException {
    OutputStream stream = new BufferedOutputStream(Channels.newOutputStream(channel));
    content.writeTo(stream);
    stream.flush();
  }

  /** As {@link #write(Path, Content)}, of bytes that are at hand. */
  public static void write(Path target, byte[] bytes) throws IOException {
    writeStream(target, stream -> stream.write(bytes));
  }

  /**
   * Finds out whether a file could be written now, as far as that can be known: writes some bytes
   * beside it and deletes them.
   *
   * @return where it is or would be, without symbolic links
   * @throws IOException if not
   */
  public static Path requireWritable(Path target) throws IOException {
    try {
      Path place = place(target);
      if (!isSpecial(place)) {
        probe(place.getParent());
      }
      return place;
    } catch (IOException e) {
      throw failure(target, e);
    }
  }

  static void probe(Path folder) throws IOException {
    try (Temporary temporary = Temporary.in(folder)) {
      ByteBuffer bytes = ByteBuffer.allocate(PROBE_BYTES);
      while (bytes.hasRemaining()) {
        temporary.channel().write(bytes);
      }
      temporary.channel().force(false);
    }
  }

  /**
   * Returns where a file is or would be, without symbolic links.
   *
   * @throws IOException if its folder does not exist
   */
  public static Path resolve(Path file) throws IOException {
    Path place = file.toAbsolutePath();
    for (int links = 0; links < MAX_LINKS; links++) {
      if (Files.isDirectory(place) || isSpecial(place)) {
        return place.startsWith(PROCESSES) ? place : place.toRealPath();
      }
      Path folder = place.getParent();
      if (!Files.isDirectory(folder)) {
        String problem = Files.exists(folder) ? "%s is not a folder" : "there is no folder %s";
        throw new FileSystemException(file.toString(), null, problem.formatted(folder));
      }
      place = folder.toRealPath().resolve(place.getFileName());
      if (!Files.isSymbolicLink(place)) {
        return place;
      }
      place = place.resolveSibling(Files.readSymbolicLink(place));
    }
    throw new FileSystemException(file.toString(), null, "too many symbolic links");
  }

  /** The place of a file that may be replaced. */
  private static Path place(Path target) throws IOException {
    Path place = resolve(target);
    if (Files.isDirectory(place)) {
      throw new FileSystemException(place.toString(), null, "it is a folder");
    }
    if (Files.exists(place) && !Files.isWritable(place)) {
      throw new AccessDeniedException(place.toString());
    }
    return place;
  }

  /** Returns whether there is something that cannot be replaced by a file: a pipe, a device. */
  private static boolean isSpecial(Path place) {
    return Files.exists(place)
        && !Files.isDirectory(place)
        && (!Files.isRegularFile(place) || place.startsWith(PROCESSES));
  }

  static IOException failure(Path target, IOException e) {
    return new IOException(
        "%s: cannot be written: %s".formatted(Temporary.destination(target), reason(e)), e);
  }

  private static String reason(IOException e) {
    if (e instanceof AccessDeniedException) {
      return "permission denied";
    }
    if (e instanceof NoSuchFileException missing) {
      return "there is no " + missing.getFile();
    }
    String message = e instanceof FileSystemException system ? system.getReason() : e.getMessage();
    return message == null ? e.getClass().getSimpleName() : message;
  }
}
