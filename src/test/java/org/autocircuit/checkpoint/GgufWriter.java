package org.autocircuit.checkpoint;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Writes GGUF files, version 3, as the format's description has them. */
final class GgufWriter {

  /** A tensor: GGML's code of its type, sizes outermost first, bytes. */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  private record Entry(int type, long[] shape, byte[] bytes) {}

  private static final int ALIGNMENT = 32;

  private final Map<String, Object> metadata = new LinkedHashMap<>();
  private final Map<String, Entry> tensors = new LinkedHashMap<>();

  /** Adds an {@code Integer}, {@code Float}, {@code Boolean}, {@code String} or list of strings. */
  GgufWriter put(String key, Object value) {
    metadata.put(key, value);
    return this;
  }

  GgufWriter tensor(String name, int type, long[] shape, byte[] bytes) {
    tensors.put(name, new Entry(type, shape, bytes));
    return this;
  }

  byte[] bytes() {
    Output out = new Output();
    out.bytes("GGUF".getBytes(StandardCharsets.UTF_8));
    out.number(3, 4);
    out.number(tensors.size(), 8);
    out.number(metadata.size(), 8);
    metadata.forEach(
        (key, value) -> {
          out.text(key);
          out.value(value);
        });
    long offset = 0;
    for (Map.Entry<String, Entry> tensor : tensors.entrySet()) {
      Entry entry = tensor.getValue();
      out.text(tensor.getKey());
      out.number(entry.shape.length, 4);
      for (int i = entry.shape.length - 1; i >= 0; i--) {
        out.number(entry.shape[i], 8);
      }
      out.number(entry.type, 4);
      out.number(offset, 8);
      offset += Math.multiplyFull((entry.bytes.length + ALIGNMENT - 1) / ALIGNMENT, ALIGNMENT);
    }
    for (Entry entry : tensors.values()) {
      out.pad();
      out.bytes(entry.bytes);
    }
    return out.stream.toByteArray();
  }

  private static final class Output {
    final ByteArrayOutputStream stream = new ByteArrayOutputStream();

    void bytes(byte[] bytes) {
      stream.writeBytes(bytes);
    }

    void number(long value, int bytes) {
      for (int i = 0; i < bytes; i++) {
        stream.write((int) (value >> (8 * i)));
      }
    }

    void text(String text) {
      byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
      number(bytes.length, 8);
      bytes(bytes);
    }

    void value(Object value) {
      if (value instanceof Integer number) {
        number(4, 4);
        number(number, 4);
      } else if (value instanceof Float number) {
        number(6, 4);
        bytes(ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putFloat(number).array());
      } else if (value instanceof Boolean flag) {
        number(7, 4);
        number(flag ? 1 : 0, 1);
      } else if (value instanceof String text) {
        number(8, 4);
        text(text);
      } else {
        List<String> texts = new ArrayList<>();
        ((List<?>) value).forEach(text -> texts.add((String) text));
        number(9, 4);
        number(8, 4);
        number(texts.size(), 8);
        texts.forEach(this::text);
      }
    }

    void pad() {
      while (stream.size() % ALIGNMENT != 0) {
        stream.write(0);
      }
    }
  }
}
