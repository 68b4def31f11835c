package org.autocircuit.checkpoint;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.StrictJson;

/**
 * Parser of a safetensors header. It streams, so that memory follows the tensors that are really
 * described and not the nesting or the length that the text pretends to have.
 */
record SafetensorsHeader(Map<String, TensorEntry> entries, Map<String, String> metadata) {
  // More than LibTorch's tensors can have in practice, less than a header could spell out.
  private static final int MAX_DIMENSIONS = 64;

  private static final JsonFactory JSON =
      StrictJson.factory()
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .streamReadConstraints(
              StreamReadConstraints.builder().maxNestingDepth(16).maxNumberLength(32).build())
          .build();

  static SafetensorsHeader parse(Path file, byte[] header, long dataBytes) {
    return new Parse(file, header, dataBytes).run();
  }

  /** State of one parse. Offsets are relative to the data until a tensor is complete. */
  private static final class Parse {
    private final Path file;
    private final byte[] header;
    private final long dataBytes;
    private final List<TensorEntry> tensors = new ArrayList<>();
    private final Map<String, String> metadata = new LinkedHashMap<>();

    Parse(Path file, byte[] header, long dataBytes) {
      this.file = file;
      this.header = header;
      this.dataBytes = dataBytes;
    }

    SafetensorsHeader run() {
      if (header.length == 0 || header[0] != '{') {
        throw bad("the header does not begin with {; is this a safetensors file?");
      }
      // Jackson would take this for UTF-16 or UTF-32, the format is UTF-8 only.
      if (header.length > 1 && header[1] == 0) {
        throw bad("the header is not UTF-8");
      }
      try (JsonParser parser = JSON.createParser(header)) {
        parser.nextToken();
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
          String name = parser.currentName();
          parser.nextToken();
          if (name.equals("__metadata__")) {
            readMetadata(parser);
          } else {
            tensors.add(readTensor(parser, name));
          }
        }
        if (parser.nextToken() != null) {
          throw bad("the header goes on behind its closing brace");
        }
      } catch (JsonProcessingException e) {
        throw new CheckpointException(
            "%s: the header is %s".formatted(file, StrictJson.notValid(e)), e);
      } catch (IOException e) { // malformed UTF-8: the bytes are in memory, nothing else can fail
        throw new CheckpointException(
            "%s: the header is not UTF-8: %s".formatted(file, e.getMessage()), e);
      }
      return new SafetensorsHeader(inOrder(), metadata);
    }

    private void readMetadata(JsonParser parser) throws IOException {
      if (parser.currentToken() != JsonToken.START_OBJECT) {
        throw bad("__metadata__ must be an object");
      }
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String key = parser.currentName();
        if (parser.nextToken() != JsonToken.VALUE_STRING) {
          throw bad("__metadata__ must map strings to strings, " + shorten(key) + " does not");
        }
        metadata.put(key, parser.getText());
      }
    }

    private TensorEntry readTensor(JsonParser parser, String name) throws IOException {
      if (parser.currentToken() != JsonToken.START_OBJECT) {
        throw bad(name, "must be an object with dtype, shape and data_offsets");
      }
      SafetensorsType type = null;
      long[] shape = null;
      long[] offsets = null;
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String key = parser.currentName();
        parser.nextToken();
        switch (key) {
          case "dtype" -> type = readType(parser, name);
          case "shape" -> shape = readSizes(parser, name, "shape", MAX_DIMENSIONS);
          case "data_offsets" -> offsets = readSizes(parser, name, "data_offsets", 2);
          default -> parser.skipChildren();
        }
      }
      if (type == null || shape == null || offsets == null) {
        throw bad(name, "must have dtype, shape and data_offsets");
      }
      if (offsets.length != 2) {
        throw bad(name, "data_offsets must be two numbers, got " + Arrays.toString(offsets));
      }
      return checked(name, type, shape, offsets[0], offsets[1]);
    }

    private SafetensorsType readType(JsonParser parser, String name) throws IOException {
      if (parser.currentToken() != JsonToken.VALUE_STRING) {
        throw bad(name, "dtype must be a string");
      }
      String text = parser.getText();
      for (SafetensorsType type : SafetensorsType.values()) {
        if (type.name().equals(text)) {
          return type;
        }
      }
      throw bad(
          name,
          "dtype is %s, supported are %s"
              .formatted(shorten(text), Arrays.toString(SafetensorsType.values())));
    }

    private long[] readSizes(JsonParser parser, String name, String key, int limit)
        throws IOException {
      if (parser.currentToken() != JsonToken.START_ARRAY) {
        throw bad(name, key + " must be an array of integers");
      }
      long[] sizes = new long[limit];
      int count = 0;
      while (parser.nextToken() != JsonToken.END_ARRAY) {
        if (count == limit) {
          throw bad(name, "%s has more than %s numbers".formatted(key, limit));
        }
        if (parser.currentToken() != JsonToken.VALUE_NUMBER_INT) {
          throw bad(name, key + " must be an array of integers");
        }
        if (parser.getNumberType() == JsonParser.NumberType.BIG_INTEGER
            || parser.getLongValue() < 0) {
          throw bad(name, "%s has %s, out of range".formatted(key, shorten(parser.getText())));
        }
        sizes[count++] = parser.getLongValue();
      }
      return Arrays.copyOf(sizes, count);
    }

    private TensorEntry checked(
        String name, SafetensorsType type, long[] shape, long begin, long end) {
      long bytes = type.bytes();
      try {
        for (long size : shape) {
          bytes = Math.multiplyExact(bytes, size);
        }
      } catch (ArithmeticException e) {
        throw bad(name, "shape %s has too many elements".formatted(Arrays.toString(shape)));
      }
      if (begin > end || end > dataBytes) {
        throw bad(
            name,
            "data_offsets [%s, %s] do not lie in the %s bytes behind the header; is the file complete?"
                .formatted(begin, end, dataBytes));
      }
      if (end - begin != bytes) {
        throw bad(
            name,
            "shape %s of %s needs %s bytes, data_offsets [%s, %s] give %s"
                .formatted(Arrays.toString(shape), type, bytes, begin, end, end - begin));
      }
      return new TensorEntry(name, type, shape, begin, end);
    }

    /** The tensors must tile the data: each begins where the one before ended. */
    private Map<String, TensorEntry> inOrder() {
      tensors.sort(Comparator.comparingLong(TensorEntry::begin).thenComparing(TensorEntry::end));
      long start = (long) SafetensorsFile.LENGTH_BYTES + header.length;
      Map<String, TensorEntry> entries = new LinkedHashMap<>();
      long next = 0;
      for (TensorEntry tensor : tensors) {
        if (tensor.begin() != next) {
          throw bad(
              tensor.name(),
              "begins at %s, %s the tensor before it, which ends at %s"
                  .formatted(
                      tensor.begin(), tensor.begin() < next ? "inside" : "apart from", next));
        }
        next = tensor.end();
        entries.put(
            tensor.name(),
            new TensorEntry(
                tensor.name(),
                tensor.type(),
                tensor.shape(),
                start + tensor.begin(),
                start + tensor.end()));
      }
      if (next != dataBytes) {
        throw bad("the tensors end at byte %s of %s behind the header".formatted(next, dataBytes));
      }
      return entries;
    }

    private CheckpointException bad(String what) {
      return new CheckpointException("%s: %s".formatted(file, what));
    }

    private CheckpointException bad(String tensor, String what) {
      return new CheckpointException("%s: tensor %s: %s".formatted(file, shorten(tensor), what));
    }

    private static String shorten(String text) {
      return text.length() > 100 ? text.substring(0, 100) + "…" : text;
    }
  }
}
