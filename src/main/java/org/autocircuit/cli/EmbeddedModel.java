package org.autocircuit.cli;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.autocircuit.internal.Temporary;
import org.autocircuit.model.Model;

/**
 * The model that comes with the library, unpacked into a temporary folder, since weights are mapped
 * into memory from a file. The folder is gone when this is closed and when the process is asked to
 * end; after a kill, when the next one is unpacked.
 */
final class EmbeddedModel implements AutoCloseable {

  static final String NAME = "indirect-object";

  private static final List<String> FILES =
      List.of(
          "config.json",
          "model.safetensors",
          "tokenizer.json",
          "tokenizer_config.json",
          "special_tokens_map.json");

  private final Temporary temporary;
  private final Path folder;

  private EmbeddedModel(Temporary temporary) throws IOException {
    this.temporary = temporary;
    folder = temporary.folderFor(Path.of(NAME));
  }

  /**
   * Unpacks the model.
   *
   * @throws IllegalStateException if this build has none
   */
  static EmbeddedModel unpack() {
    try {
      EmbeddedModel model =
          new EmbeddedModel(Temporary.in(Path.of(System.getProperty("java.io.tmpdir"))));
      try {
        for (String file : FILES) {
          model.unpack(file);
        }
        return model;
      } catch (IOException | RuntimeException e) {
        model.close();
        throw e;
      }
    } catch (IOException e) {
      throw new UncheckedIOException("the embedded model cannot be unpacked: " + e.getMessage(), e);
    }
  }

  Path folder() {
    return folder;
  }

  private void unpack(String file) throws IOException {
    try (InputStream stream = Model.class.getResourceAsStream(NAME + "/" + file)) {
      if (stream == null) {
        throw new IllegalStateException(
            "this build has no embedded model (%s is missing); name a model folder with --model"
                .formatted(file));
      }
      Files.copy(stream, folder.resolve(file));
    }
  }

  /** Deletes the files. Pages that are mapped stay valid. */
  @Override
  public void close() {
    try {
      temporary.close();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot delete " + folder, e);
    }
  }
}
