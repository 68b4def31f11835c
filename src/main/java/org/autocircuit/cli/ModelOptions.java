package org.autocircuit.cli;

import java.nio.file.Path;
import org.autocircuit.Threads;
import org.autocircuit.checkpoint.LoadOptions;
import org.autocircuit.internal.Devices;
import org.autocircuit.model.Precision;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Options of commands that load a model. */
final class ModelOptions {

  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(
      names = {"-m", "--model"},
      paramLabel = "FOLDER",
      description =
          "Hugging Face folder: config.json, model.safetensors, tokenizer.json; or a GGUF file,"
              + " with --tokenizer. Nothing is downloaded. Without it the small model that comes"
              + " with the program, trained on indirect-object sentences.")
  Path folder;

  @Option(
      names = "--tokenizer",
      paramLabel = "FOLDER",
      description =
          "Where tokenizer.json is, if not in the model's folder or beside the GGUF file, whose own"
              + " tokenizer is not read: usually the folder that the file was made from.")
  Path tokenizer;

  @Option(
      names = "--dtype",
      paramLabel = "TYPE",
      defaultValue = "FLOAT32",
      description = "Precision of all computation: ${COMPLETION-CANDIDATES}. Default: FLOAT32.")
  Precision precision;

  @Option(
      names = "--device",
      paramLabel = "DEVICE",
      defaultValue = "cpu",
      description = "Where to compute: cpu, cuda, or cuda:N. Default: ${DEFAULT-VALUE}.")
  private String device;

  @Option(
      names = "--threads",
      paramLabel = "N",
      description =
          "Threads of the computation. Default: as many as the work of a pass is worth, up to one"
              + " for each processor; one for small models.")
  private Integer threads;

  /** Sets the number of threads, where one is given. */
  void setThreads() {
    if (threads != null) {
      try {
        Threads.set(threads);
      } catch (IllegalArgumentException e) {
        throw wrongUsage(e);
      }
    }
  }

  /** Returns how to load the model; refuses a device that is not there. */
  LoadOptions loadOptions() {
    try {
      if (device.startsWith("meta")) {
        throw new IllegalArgumentException("device: expected cpu, cuda or cuda:N, got " + device);
      }
      Devices.require(device);
    } catch (IllegalArgumentException e) {
      throw wrongUsage(e);
    }
    return LoadOptions.DEFAULT.withPrecision(precision).withDevice(device);
  }

  /** The library names what is wrong as the option does. */
  private ParameterException wrongUsage(IllegalArgumentException e) {
    return new ParameterException(spec.commandLine(), "--" + e.getMessage(), e);
  }
}
