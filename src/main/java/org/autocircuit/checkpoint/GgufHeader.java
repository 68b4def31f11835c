package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.UnreadableFiles;

/**
 * The header of a GGUF file, version 2 or 3, little-endian: metadata, and where the tensors are. It
 * is streamed: arrays and long texts, such as the vocabulary, are passed over.
 */
final class GgufHeader {

  private static final long MAGIC = 0x46554747; // GGUF
  private static final int MAX_TEXT = 1024;
  private static final int STRING = 8;
  private static final int ARRAY = 9;
  // Bytes of the scalar types; those of no other.
  private static final int[] SIZES = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

  private final Path file;
  private final long length;
  private final InputStream in;
  private final Map<String, GgufTensor> tensors = new LinkedHashMap<>();
  private final ObjectNode metadata = JsonNodeFactory.instance.objectNode();
  private long position;

  private GgufHeader(Path file, long length, InputStream in) {
    this.file = file;
    this.length = length;
    this.in = in;
  }

  /** Returns whether a file is called or begins like one. */
  static boolean isGguf(Path file) {
    if (!Files.isRegularFile(file)) {
      return false;
    }
    try (InputStream in = Files.newInputStream(file)) {
      return file.toString().endsWith(".gguf")
          || new GgufHeader(file, Files.size(file), in).number(4) == MAGIC;
    } catch (IOException e) { // too short or unreadable, which its reader will say
      return false;
    }
  }

  static GgufHeader read(Path file) {
    try {
      UnreadableFiles.refuseText(file, "a GGUF file (a Hugging Face model is named by its folder)");
    } catch (IOException e) {
      throw new CheckpointException("%s: cannot be read: %s".formatted(file, e), e);
    }
    try (InputStream in = new BufferedInputStream(Files.newInputStream(file))) {
      GgufHeader header = new GgufHeader(file, Files.size(file), in);
      header.read();
      return header;
    } catch (EOFException e) {
      throw new CheckpointException(
          "%s: ends inside its header; is the download complete?".formatted(file), e);
    } catch (ArithmeticException e) {
      throw new CheckpointException("%s: has a size that no file has".formatted(file), e);
    } catch (IOException e) {
      throw new CheckpointException("%s: cannot be read: %s".formatted(file, e), e);
    }
  }

  /** The tensors by name, in the order of the file. */
  Map<String, GgufTensor> tensors() {
    return tensors;
  }

  /**
   * The metadata, an object for each first part of the keys. Arrays are empty, and long texts null.
   */
  ConfigReader metadata() {
    return new ConfigReader(file, metadata);
  }

  private void read() throws IOException {
    if (number(4) != MAGIC) {
      throw bad("not a GGUF file; a Hugging Face model is named by its folder");
    }
    long version = number(4);
    if (version != 2 && version != 3) {
      throw bad("GGUF version is %s, supported are 2 and 3, little-endian".formatted(version));
    }
    long nTensors = number(8);
    for (long entries = number(8); entries != 0; entries--) {
      String key = text(number(8));
      int dot = key.indexOf('.');
      JsonNode group = dot < 0 ? metadata : metadata.get(key.substring(0, dot));
      if (group == null) {
        group = metadata.putObject(key.substring(0, dot));
      }
      JsonNode value = value((int) number(4), key);
      if (!(group instanceof ObjectNode object)
          || object.replace(key.substring(dot + 1), value) != null) {
        throw bad("key %s is there twice".formatted(key));
      }
    }
    long alignment = metadata.path("general").path("alignment").asLong(32);
    if (alignment < 1 || alignment > length) {
      throw bad("general.alignment is %s, expected the bytes of a unit".formatted(alignment));
    }
    for (long count = nTensors; count != 0; count--) {
      GgufTensor tensor = tensor();
      if (tensors.put(tensor.name(), tensor) != null) {
        throw bad("tensor %s is there twice".formatted(tensor.name()));
      }
    }
    place(alignment);
  }

  private JsonNode value(int type, String key) throws IOException {
    JsonNodeFactory nodes = JsonNodeFactory.instance;
    if (type == STRING) {
      long size = number(8);
      if (size >= 0 && size <= MAX_TEXT) {
        return nodes.textNode(text(size));
      }
      passOver(size);
      return nodes.nullNode();
    }
    if (type == ARRAY) {
      int elements = (int) number(4);
      long count = number(8);
      if (elements != STRING) {
        passOver(Math.multiplyExact(count, size(elements, key)));
        return nodes.arrayNode();
      }
      for (; count != 0; count--) {
        passOver(number(8));
      }
      return nodes.arrayNode();
    }
    long bits = number(size(type, key));
    return switch (type) {
      case 1 -> nodes.numberNode((long) (byte) bits);
      case 3 -> nodes.numberNode((long) (short) bits);
      case 5 -> nodes.numberNode((long) (int) bits);
      // Written as a decimal number before it was rounded: 1e-5, not 9.99999975e-6.
      case 6 ->
          nodes.numberNode(Double.parseDouble(Float.toString(Float.intBitsToFloat((int) bits))));
      case 7 -> nodes.booleanNode(bits != 0);
      case 12 -> nodes.numberNode(Double.longBitsToDouble(bits));
      default -> nodes.numberNode(bits);
    };
  }

  private int size(int type, String key) {
    if (type < 0 || type >= SIZES.length || SIZES[type] == 0) {
      throw bad("%s is of type %s, which is not supported".formatted(key, type));
    }
    return SIZES[type];
  }

  /** A tensor whose place is still relative to the first one's. */
  private GgufTensor tensor() throws IOException {
    String name = text(number(8));
    int dimensions = (int) number(4);
    if (dimensions < 1 || dimensions > 4) {
      throw bad("tensor %s has %s dimensions, expected 1 to 4".formatted(name, dimensions));
    }
    long[] shape = new long[dimensions];
    for (int i = dimensions - 1; i >= 0; i--) {
      shape[i] = number(8);
    }
    GgufType type = GgufType.of(file, name, number(4));
    boolean wholeBlocks = shape[dimensions - 1] % type.blockValues == 0;
    if (!wholeBlocks || Arrays.stream(shape).anyMatch(size -> size < 0)) {
      throw bad(
          "tensor %s of type %s: impossible shape %s"
              .formatted(name, type, Arrays.toString(shape)));
    }
    return new GgufTensor(file, name, type, shape, number(8), 0);
  }

  /** The tensors follow one another, each at the next multiple of the alignment. */
  private void place(long alignment) {
    long start = aligned(position, alignment);
    long next = start;
    for (Map.Entry<String, GgufTensor> entry : tensors.entrySet()) {
      GgufTensor tensor = entry.getValue();
      long bytes = tensor.type().bytes(tensor.shape());
      if (bytes > length - next || tensor.begin() != next - start) {
        throw bad(
            "tensor %s is at byte %s behind the header, expected %s and then %s bytes; is the download complete?"
                .formatted(tensor.name(), tensor.begin(), next - start, bytes));
      }
      entry.setValue(tensor.at(next));
      next = aligned(next + bytes, alignment);
    }
  }

  private static long aligned(long position, long alignment) {
    return (position + alignment - 1) / alignment * alignment;
  }

  private String text(long size) throws IOException {
    if (size < 0 || size > MAX_TEXT) {
      throw bad(
          "a name has %s bytes, expected at most %s"
              .formatted(Long.toUnsignedString(size), MAX_TEXT));
    }
    byte[] bytes = in.readNBytes((int) size);
    position += bytes.length;
    return new String(bytes, StandardCharsets.UTF_8);
  }

  /** An unsigned number of so many bytes. */
  private long number(int bytes) throws IOException {
    long number = 0;
    for (int i = 0; i < bytes; i++) {
      int next = in.read();
      if (next < 0) {
        throw new EOFException();
      }
      number |= (long) next << (8 * i);
    }
    position += bytes;
    return number;
  }

  private void passOver(long bytes) throws IOException {
    if (bytes < 0 || bytes > length - position) {
      throw new EOFException();
    }
    in.skipNBytes(bytes);
    position += bytes;
  }

  private CheckpointException bad(String what) {
    return new CheckpointException("%s: %s".formatted(file, what));
  }
}
