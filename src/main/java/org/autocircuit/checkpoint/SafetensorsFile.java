package org.autocircuit.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SeekableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.Map;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.UnreadableFiles;

/**
 * The header of a safetensors file: which tensors it holds and where. Reading it touches only the
 * first bytes of the file, and everything in it is checked against the length of the file, so that
 * code which maps the file afterwards need not doubt an offset. Immutable, safe to share between
 * threads, holds nothing open.
 *
 * <p>The format: eight bytes with the header's length (unsigned, little-endian), the header (a JSON
 * object, possibly followed by spaces), then the tensors' bytes. Each key of the header is a
 * tensor's name with {@code dtype}, {@code shape} and {@code data_offsets} ({@code [begin, end]},
 * relative to the end of the header); the key {@code __metadata__} maps strings to strings. The
 * tensors must fill the rest of the file exactly: no overlap, no hole, nothing behind the last one.
 * A file that breaks any of this is refused as a whole.
 *
 * <pre>{@code
 * SafetensorsFile file = SafetensorsFile.open(Path.of("model.safetensors"));
 * TensorEntry embedding = file.require("wte.weight");
 * }</pre>
 */
public final class SafetensorsFile {

  /** The longest header that is read, the limit of the format's reference implementation. */
  public static final long MAX_HEADER_BYTES = 100_000_000;

  static final int LENGTH_BYTES = 8;

  private final Path path;
  private final long length;
  private final Map<String, TensorEntry> entries;
  private final Map<String, String> metadata;

  private SafetensorsFile(
      Path path, long length, Map<String, TensorEntry> entries, Map<String, String> metadata) {
    this.path = path;
    this.length = length;
    this.entries = Collections.unmodifiableMap(entries);
    this.metadata = Collections.unmodifiableMap(metadata);
  }

  /**
   * Reads and checks the header. At most the header's own size is allocated, and only once the file
   * was seen to be long enough to hold it.
   *
   * @param path the file
   * @throws CheckpointException if the file is missing, unreadable, truncated or malformed; the
   *     message names the file and the tensor
   */
  public static SafetensorsFile open(Path path) {
    if (!Files.isRegularFile(path)) {
      throw UnreadableFiles.missing(path);
    }
    try (SeekableByteChannel channel = Files.newByteChannel(path)) {
      long length = channel.size();
      byte[] header = readHeader(path, channel, length);
      SafetensorsHeader parsed =
          SafetensorsHeader.parse(path, header, length - LENGTH_BYTES - header.length);
      return new SafetensorsFile(path, length, parsed.entries(), parsed.metadata());
    } catch (IOException e) {
      Stop.check(); // an interrupt closes what its thread reads
      throw new CheckpointException("%s: cannot be read: %s".formatted(path, e), e);
    }
  }

  private static byte[] readHeader(Path path, SeekableByteChannel channel, long length)
      throws IOException {
    if (length < LENGTH_BYTES) {
      throw new CheckpointException(
          "%s: %s bytes, too short for a safetensors file; is the download complete?"
              .formatted(path, length));
    }
    ByteBuffer prefix = ByteBuffer.allocate(LENGTH_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    readFully(path, channel, prefix);
    long headerLength = prefix.flip().getLong();
    if (headerLength < 0 || headerLength > MAX_HEADER_BYTES) {
      UnreadableFiles.refuseText(path, "a safetensors file");
      throw new CheckpointException(
          "%s: the header claims %s bytes, at most %s are allowed; is this a safetensors file?"
              .formatted(path, Long.toUnsignedString(headerLength), MAX_HEADER_BYTES));
    }
    if (headerLength > length - LENGTH_BYTES) {
      throw new CheckpointException(
          "%s: the header claims %s bytes, but only %s follow; is the download complete?"
              .formatted(path, headerLength, length - LENGTH_BYTES));
    }
    ByteBuffer header = ByteBuffer.allocate((int) headerLength);
    readFully(path, channel, header);
    return header.array();
  }

  private static void readFully(Path path, SeekableByteChannel channel, ByteBuffer buffer)
      throws IOException {
    while (buffer.hasRemaining()) {
      if (channel.read(buffer) < 0) {
        throw new CheckpointException("%s: shrank while it was read".formatted(path));
      }
    }
  }

  /** The file that was read. */
  public Path path() {
    return path;
  }

  /** Length of the whole file in bytes when it was read. */
  public long length() {
    return length;
  }

  /** All tensors by name, in the order of their bytes. Unmodifiable. */
  public Map<String, TensorEntry> entries() {
    return entries;
  }

  /** The file's {@code __metadata__}, empty if it has none. Unmodifiable. */
  public Map<String, String> metadata() {
    return metadata;
  }

  /**
   * The tensor of this name.
   *
   * @throws CheckpointException if the file has no such tensor
   */
  public TensorEntry require(String name) {
    TensorEntry entry = entries.get(name);
    if (entry == null) {
      throw new CheckpointException("%s: has no tensor %s".formatted(path, name));
    }
    return entry;
  }
}
