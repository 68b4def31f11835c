package org.autocircuit.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.autocircuit.internal.AtomicFile;
import org.autocircuit.internal.AtomicFolder;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;

/** Refuses places of output before a computation that could not be written after it. */
final class Outputs {

  private final CommandSpec spec;

  /** Options by the files that they name, without symbolic links. */
  private final Map<Path, String> taken = new LinkedHashMap<>();

  Outputs(CommandSpec spec) {
    this.spec = spec;
  }

  /** Notes an input, which no output may replace. */
  void keep(String option, Path file) {
    try {
      taken.put(AtomicFile.resolve(file), option);
    } catch (IOException e) {
      // Reading it will say so.
    }
  }

  /** Notes an output file. */
  void add(String option, Path file) {
    try {
      Path place = AtomicFile.requireWritable(file);
      String other = taken.putIfAbsent(place, option);
      if (other != null && (!Files.exists(place) || Files.isRegularFile(place))) {
        throw refused("%s %s is the file of %s, too".formatted(option, file, other));
      }
    } catch (IOException e) {
      throw refused(option + " " + e.getMessage());
    }
  }

  /** Checks an output folder. */
  void addFolder(String option, Path folder) {
    try {
      AtomicFolder.requireWritable(folder);
    } catch (IOException e) {
      throw refused(option + " " + e.getMessage());
    }
  }

  private ParameterException refused(String problem) {
    return new ParameterException(spec.commandLine(), problem);
  }
}
