package org.autocircuit.golden;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;

/** A small reader of safetensors files, apart from the product's own so that it can check it. */
final class SafetensorsReader {

  private SafetensorsReader() {}

  static Map<String, GoldenTensor> read(Path file) throws IOException {
    ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
    int headerSize = Math.toIntExact(bytes.getLong());
    byte[] header = new byte[headerSize];
    bytes.get(header);
    ByteBuffer data = bytes.slice().order(ByteOrder.LITTLE_ENDIAN);
    Map<String, GoldenTensor> tensors = new LinkedHashMap<>();
    Iterator<Map.Entry<String, JsonNode>> entries =
        new ObjectMapper().readTree(header).properties().iterator();
    while (entries.hasNext()) {
      Map.Entry<String, JsonNode> entry = entries.next();
      if (!entry.getKey().equals("__metadata__")) {
        tensors.put(entry.getKey(), tensor(entry.getValue(), data));
      }
    }
    return tensors;
  }

  private static GoldenTensor tensor(JsonNode entry, ByteBuffer data) {
    String dtype = entry.get("dtype").asText();
    long[] shape = new long[entry.get("shape").size()];
    int size = 1;
    for (int i = 0; i < shape.length; i++) {
      shape[i] = entry.get("shape").get(i).asLong();
      size *= Math.toIntExact(shape[i]);
    }
    int at = entry.get("data_offsets").get(0).asInt();
    double[] doubles = dtype.equals("I64") ? null : new double[size];
    long[] longs = dtype.equals("I64") ? new long[size] : null;
    for (int i = 0; i < size; i++) {
      switch (dtype) {
        case "F32" -> doubles[i] = data.getFloat(at + 4 * i);
        case "F64" -> doubles[i] = data.getDouble(at + 8 * i);
        case "I64" -> longs[i] = data.getLong(at + 8 * i);
        default -> throw new IllegalArgumentException("no reader for dtype " + dtype);
      }
    }
    return new GoldenTensor(dtype, shape, doubles, longs);
  }
}
