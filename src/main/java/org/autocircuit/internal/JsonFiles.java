package org.autocircuit.internal;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.autocircuit.exception.CheckpointException;

/** Small JSON files of a model folder, read strictly and written in one step. */
public final class JsonFiles {
  private static final long MAX_BYTES = 16 << 20;

  private JsonFiles() {}

  /** Reads a file that holds one JSON object. */
  public static ObjectNode readObject(Path file) {
    byte[] bytes;
    try {
      if (!Files.isRegularFile(file)) {
        throw UnreadableFiles.missing(file);
      }
      if (Files.size(file) > MAX_BYTES) {
        throw new CheckpointException(
            "%s: %s bytes, expected a JSON object of at most %s"
                .formatted(file, Files.size(file), MAX_BYTES));
      }
      bytes = Files.readAllBytes(file);
    } catch (IOException e) {
      throw new CheckpointException("%s: cannot be read: %s".formatted(file, e.getMessage()), e);
    }
    UnreadableFiles.refuse(file, bytes);
    return parseObject(file, bytes);
  }

  private static ObjectNode parseObject(Path file, byte[] bytes) {
    try {
      JsonNode node = StrictJson.MAPPER.readTree(bytes);
      if (node instanceof ObjectNode object) {
        return object;
      }
      throw new CheckpointException(
          "%s: expected a JSON object, got %s".formatted(file, describe(node)));
    } catch (JsonProcessingException e) {
      throw new CheckpointException("%s: %s".formatted(file, StrictJson.notValid(e)), e);
    } catch (IOException e) {
      throw new CheckpointException("%s: not valid JSON: %s".formatted(file, e.getMessage()), e);
    }
  }

  /** Writes an object, indented by two spaces, replacing the file in one step. */
  public static void write(Path file, JsonNode node) {
    DefaultPrettyPrinter printer =
        new DefaultPrettyPrinter().withObjectIndenter(new DefaultIndenter("  ", "\n"));
    try {
      byte[] json =
          (StrictJson.MAPPER.writer(printer).writeValueAsString(node) + "\n")
              .getBytes(StandardCharsets.UTF_8);
      AtomicFile.write(file, json);
    } catch (IOException e) {
      throw new CheckpointException(e.getMessage(), e);
    }
  }

  /**
   * Writes files of a model folder, none of which takes its place before all are complete; the
   * folder is made if need be.
   *
   * @param key the file without which nobody reads the others
   */
  public static void writeFolder(Path folder, String key, AtomicFolder.Content content) {
    try {
      AtomicFolder.write(folder, key, content);
    } catch (IOException e) {
      throw new CheckpointException(e.getMessage(), e);
    }
  }

  /** A value as it should look in a message: short, with its type when the type is the problem. */
  public static String describe(JsonNode node) {
    if (node == null || node.isMissingNode()) {
      return "nothing";
    }
    String text = StrictJson.text(node);
    return switch (node.getNodeType()) {
      case OBJECT -> "an object";
      case ARRAY -> "an array";
      default -> text.length() > 80 ? text.substring(0, 80) + "…" : text;
    };
  }
}
