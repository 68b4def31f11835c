package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.AtomicFile;
import org.autocircuit.internal.StrictJson;

/**
 * Writes a safetensors file. Tensors are named first and their bytes are asked for, one tensor
 * after another, while the file is written, so a model is never held twice.
 *
 * <pre>{@code
 * new SafetensorsWriter()
 *     .metadata("format", "pt")
 *     .add("wte.weight", SafetensorsType.F32, new long[] {vocab, width}, embeddingBytes)
 *     .write(folder.resolve("model.safetensors"));
 * }</pre>
 *
 * <p>Tensors of wider types come first, otherwise in the order they were added, and the data begins
 * at a multiple of eight, so every tensor is aligned to its type. Not safe for use by several
 * threads.
 */
public final class SafetensorsWriter {

  /** Hands out the bytes of one tensor when they are needed. */
  @FunctionalInterface
  public interface TensorBytes {

    /**
     * Writes exactly the tensor's bytes, row-major and little-endian, in as many pieces as it
     * likes.
     *
     * @param channel takes the bytes; it stays open
     * @throws IOException if writing fails
     */
    void writeTo(WritableByteChannel channel) throws IOException;
  }

  @SuppressWarnings("ArrayRecordComponent") // never compared
  private record Tensor(String name, SafetensorsType type, long[] shape, TensorBytes bytes) {
    long size() {
      return Arrays.stream(shape).reduce(type.bytes(), Math::multiplyExact);
    }
  }

  private final Map<String, Tensor> tensors = new LinkedHashMap<>();
  private final Map<String, String> metadata = new LinkedHashMap<>();

  /** A writer of a file without tensors and without metadata. */
  public SafetensorsWriter() {}

  /** Adds an entry to the file's {@code __metadata__}; Hugging Face expects {@code format=pt}. */
  public SafetensorsWriter metadata(String key, String value) {
    metadata.put(Objects.requireNonNull(key, "key"), Objects.requireNonNull(value, "value"));
    return this;
  }

  /**
   * Adds a tensor whose bytes are at hand.
   *
   * @param name the tensor's name, used once
   * @param type type of the elements
   * @param shape sizes of the dimensions, empty for a scalar
   * @param bytes the elements, little-endian, from the buffer's position to its limit; not copied,
   *     read when the file is written, its position left alone
   * @throws IllegalArgumentException if the name is taken or the buffer's size is not the shape's
   */
  public SafetensorsWriter add(String name, SafetensorsType type, long[] shape, ByteBuffer bytes) {
    ByteBuffer view = bytes.duplicate();
    add(name, type, shape, channel -> writeFully(channel, view.duplicate()));
    long expected = tensors.get(name).size();
    if (view.remaining() != expected) {
      tensors.remove(name);
      throw new IllegalArgumentException(
          "tensor %s of type %s and shape %s has %s bytes, the buffer has %s"
              .formatted(name, type, Arrays.toString(shape), expected, view.remaining()));
    }
    return this;
  }

  /**
   * Adds a tensor whose bytes are produced while the file is written.
   *
   * @param name the tensor's name, used once
   * @param type type of the elements
   * @param shape sizes of the dimensions, empty for a scalar
   * @param bytes called once by each {@link #write}
   * @throws IllegalArgumentException if the name is taken or reserved, or the shape has a negative
   *     size or too many elements
   */
  public SafetensorsWriter add(String name, SafetensorsType type, long[] shape, TensorBytes bytes) {
    Tensor tensor = new Tensor(name, type, shape.clone(), bytes);
    if (name.equals("__metadata__") || tensors.containsKey(name)) {
      throw new IllegalArgumentException("tensor name " + name + " is taken");
    }
    if (Arrays.stream(shape).anyMatch(size -> size < 0)) {
      throw new IllegalArgumentException(
          "tensor %s: negative size in shape %s".formatted(name, Arrays.toString(shape)));
    }
    try {
      tensor.size();
    } catch (ArithmeticException e) {
      throw new IllegalArgumentException(
          "tensor %s: shape %s has too many elements".formatted(name, Arrays.toString(shape)), e);
    }
    tensors.put(name, tensor);
    return this;
  }

  /**
   * Writes the file: first beside its place, then renamed, so that a failure leaves an older file
   * untouched. The writer can be used again.
   *
   * @param file where to; its folder must exist
   * @throws CheckpointException if writing fails or a tensor's bytes are not as many as its shape
   *     says
   */
  public void write(Path file) {
    List<Tensor> ordered =
        tensors.values().stream()
            .sorted(Comparator.comparingInt((Tensor tensor) -> -tensor.type().bytes()))
            .toList();
    try {
      byte[] header = header(ordered);
      AtomicFile.write(file, channel -> writeAll(file, channel, header, ordered));
    } catch (IOException e) {
      throw new CheckpointException(e.getMessage(), e);
    }
  }

  private static void writeAll(Path file, FileChannel channel, byte[] header, List<Tensor> ordered)
      throws IOException {
    writeFully(
        channel,
        ByteBuffer.allocate(SafetensorsFile.LENGTH_BYTES)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(header.length)
            .flip());
    writeFully(channel, ByteBuffer.wrap(header));
    long position = channel.position();
    for (Tensor tensor : ordered) {
      tensor.bytes().writeTo(channel);
      long written = channel.position() - position;
      if (written != tensor.size()) {
        throw new CheckpointException(
            "%s: tensor %s of type %s and shape %s has %s bytes, %s were written"
                .formatted(
                    file,
                    tensor.name(),
                    tensor.type(),
                    Arrays.toString(tensor.shape()),
                    tensor.size(),
                    written));
      }
      position = channel.position();
    }
  }

  private byte[] header(List<Tensor> ordered) throws IOException {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    if (!metadata.isEmpty()) {
      ObjectNode node = json.putObject("__metadata__");
      metadata.forEach(node::put);
    }
    long offset = 0;
    for (Tensor tensor : ordered) {
      ObjectNode node = json.putObject(tensor.name());
      node.put("dtype", tensor.type().name());
      ArrayNode shape = node.putArray("shape");
      Arrays.stream(tensor.shape()).forEach(shape::add);
      long end = Math.addExact(offset, tensor.size());
      node.putArray("data_offsets").add(offset).add(end);
      offset = end;
    }
    byte[] text = StrictJson.MAPPER.writeValueAsBytes(json);
    byte[] padded = Arrays.copyOf(text, (text.length + 7) / 8 * 8);
    Arrays.fill(padded, text.length, padded.length, (byte) ' ');
    return padded;
  }

  private static void writeFully(WritableByteChannel channel, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }
}
