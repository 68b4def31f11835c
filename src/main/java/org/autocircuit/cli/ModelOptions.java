package org.autocircuit.cli;

import java.nio.file.Path;
import org.autocircuit.Threads;
import org.autocircuit.model.LoadOptions;
import org.autocircuit.model.Precision;
import picocli.CommandLine.Option;

/** Options of commands that load a model. */
final class ModelOptions {

  @Option(
      names = {"-m", "--model"},
      paramLabel = "FOLDER",
      description =
          "Hugging Face GPT-2 folder: config.json, model.safetensors, tokenizer.json. Without it"
              + " the small model that comes with the program, trained on indirect-object"
              + " sentences.")
  Path folder;

  @Option(
      names = "--dtype",
      paramLabel = "TYPE",
      defaultValue = "FLOAT32",
      description = "Precision of all computation: ${COMPLETION-CANDIDATES}. Default: FLOAT32.")
  Precision precision;

  @Option(
      names = "--threads",
      paramLabel = "N",
      description = "Threads of the computation. Default: one for each processor.")
  Integer threads;

  /** What is to be loaded and how; also sets the number of threads. */
  LoadOptions loadOptions() {
    if (threads != null) {
      Threads.set(threads);
    }
    return LoadOptions.DEFAULT.withPrecision(precision);
  }
}
