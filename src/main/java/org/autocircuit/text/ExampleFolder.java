package org.autocircuit.text;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.autocircuit.internal.Temporary;
import org.autocircuit.model.Model;

/**
 * The files of the model that comes with the library, unpacked into a temporary folder, for code
 * that takes a folder; {@link ExampleModel#open()} needs none. Close it to delete them. Otherwise
 * they are deleted when the process is asked to end; after a kill, when the next one unpacks them.
 *
 * <p>Safe to use by several threads.
 */
public final class ExampleFolder implements AutoCloseable {

  /** The model's name. */
  public static final String NAME = "indirect-object";

  private static final List<String> FILES =
      List.of(
          "config.json",
          "model.safetensors",
          "tokenizer.json",
          "tokenizer_config.json",
          "special_tokens_map.json");

  private final Temporary temporary;
  private final Path folder;

  private ExampleFolder(Temporary temporary) throws IOException {
    this.temporary = temporary;
    // Models are called after their folders.
    folder = Files.createDirectory(temporary.folderFor(Path.of(NAME)).resolve(NAME));
  }

  /**
   * Unpacks the model into the folder for temporary files, {@code java.io.tmpdir}.
   *
   * @return to be closed by the caller
   * @throws IllegalStateException if this build has none
   * @throws UncheckedIOException if the files cannot be written
   */
  public static ExampleFolder unpack() {
    try {
      ExampleFolder model =
          new ExampleFolder(Temporary.in(Path.of(System.getProperty("java.io.tmpdir"))));
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

  /** A Hugging Face folder: configuration, weights and tokenizer. */
  public Path path() {
    return folder;
  }

  private void unpack(String file) throws IOException {
    try (InputStream stream = Model.class.getResourceAsStream(NAME + "/" + file)) {
      if (stream == null) {
        throw new IllegalStateException(
            "this build has no embedded model (%s is missing); name a folder of a model of your own"
                .formatted(file));
      }
      Files.copy(stream, folder.resolve(file));
    }
  }

  /** Deletes the files. What was loaded from them stays valid. */
  @Override
  public void close() {
    try {
      temporary.close();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot delete " + folder, e);
    }
  }
}
