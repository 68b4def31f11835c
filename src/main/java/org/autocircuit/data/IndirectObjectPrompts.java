package org.autocircuit.data;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import org.autocircuit.exception.PromptDatasetException;

/**
 * The built-in prompts: held-out indirect-object sentences for the model that comes with the
 * library, as a file of the kind that {@link PromptDataset} reads.
 */
public final class IndirectObjectPrompts {

  /** The file's name beside this class. */
  public static final String RESOURCE = "indirect-object-prompts.json";

  private static final int COUNT = 64;
  private static final long SEED = 2024;

  private IndirectObjectPrompts() {}

  /** Reads the built-in file: 64 pairs of 14 words each, with a label per position. */
  public static PromptDataset builtIn() {
    try (InputStream stream = IndirectObjectPrompts.class.getResourceAsStream(RESOURCE)) {
      if (stream == null) {
        throw new PromptDatasetException(RESOURCE + " is missing from the library's jar");
      }
      return PromptDataset.read(stream, RESOURCE);
    } catch (IOException e) {
      throw new UncheckedIOException(RESOURCE + " cannot be read from the library's jar", e);
    }
  }

  /** Generates the prompts; equal to {@link #builtIn()} as long as the generator is unchanged. */
  static PromptDataset generate() {
    return new IndirectObjectSentences(SEED).circuitPrompts(COUNT);
  }

  /**
   * Rewrites the built-in file, after a change of the generator.
   *
   * @param args the file: {@code
   *     src/main/resources/org/autocircuit/data/indirect-object-prompts.json}
   */
  public static void main(String[] args) {
    if (args.length != 1) {
      throw new IllegalArgumentException("expected one argument, the file to write");
    }
    generate().write(Path.of(args[0]));
  }
}
