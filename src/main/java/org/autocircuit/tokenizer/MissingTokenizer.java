package org.autocircuit.tokenizer;

import java.nio.file.Path;
import java.util.List;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.UnreadableFiles;

/** Says what a folder without a tokenizer that can be read has in its place. */
final class MissingTokenizer {

  private MissingTokenizer() {}

  /** Why a tokenizer cannot be opened. */
  static CheckpointException at(Path file) {
    if (UnreadableFiles.isDangling(file)) {
      return UnreadableFiles.missing(file);
    }
    Path folder = file.toAbsolutePath().getParent();
    List<String> names = UnreadableFiles.names(folder);
    for (String other : List.of("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")) {
      if (names.contains(other)) {
        return new CheckpointException(
            ("%s: no such file; the folder has %s, which is not read: make the file with Hugging"
                    + " Face's transformers: AutoTokenizer.from_pretrained(\"%s\")"
                    + ".save_pretrained(\"%s\")")
                .formatted(file, other, folder, folder));
      }
    }
    if (names.contains("tekken.json")) {
      return new CheckpointException(
          ("%s: no such file; the folder has tekken.json, Mistral's own format, which is not read:"
                  + " put the tokenizer.json of a model with the same vocabulary there")
              .formatted(file));
    }
    return new CheckpointException(
        "%s: no such file, expected the tokenizer in the model's folder or in one that is named"
            .formatted(file));
  }
}
