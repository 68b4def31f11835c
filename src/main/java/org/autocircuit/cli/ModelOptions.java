package org.autocircuit.cli;

import java.nio.file.Path;
import org.autocircuit.Threads;
import org.autocircuit.model.LoadOptions;
import org.autocircuit.model.Precision;
import picocli.CommandLine.Option;

/** Options of commands that load a model. */
final class ModelOptions {

  /** Weights of a model that is no smaller. */
  private static final long SMALL_MODEL = 10_000_000;

  @Option(
      names = {"-m", "--model"},
      paramLabel = "FOLDER",
      description =
          "Hugging Face folder: config.json, model.safetensors, tokenizer.json. Without it"
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
      description =
          "Threads of the computation. Default: one for each processor; one for small models,"
              + " where threads wait for each other more than they help.")
  private Integer threads;

  /** Sets the number of threads. */
  void setThreads(long weights) {
    if (threads != null) {
      Threads.set(threads);
    } else if (weights < SMALL_MODEL) {
      Threads.set(1);
    }
  }

  /** What is to be loaded and how. */
  LoadOptions loadOptions() {
    return LoadOptions.DEFAULT.withPrecision(precision);
  }
}
