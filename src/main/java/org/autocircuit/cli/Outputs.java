package org.autocircuit.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import org.autocircuit.internal.AtomicFile;
import org.autocircuit.internal.AtomicFolder;
import org.autocircuit.internal.UnreadableFiles;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/**
 * Refuses places of output before a computation: those that could not be written after it, and
 * those where something is that nobody has said may be replaced. A mixin of each command that
 * writes files.
 */
final class Outputs {

  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(names = "--overwrite", description = "Replace files that are there already.")
  private boolean overwrite;

  /** Options by the files that they name, without symbolic links. */
  private final Map<Path, String> taken = new LinkedHashMap<>();

  private final List<Path> written = new ArrayList<>();
  private final Set<Path> replaceable = new HashSet<>();
  private Consumer<Path> listener = file -> {};

  /** Notes an input, which no output may replace. */
  void keep(String option, Path file) {
    try {
      taken.put(AtomicFile.resolve(file), option);
    } catch (IOException e) {
      // Reading it will say so.
    }
  }

  /** Lets a file be replaced: an earlier part of the same run wrote it. */
  void mayReplace(Path file) {
    replaceable.add(file);
  }

  /** Notes an output file. */
  void add(String option, Path file) {
    Path place = addWorkingFile(option, file);
    if (!overwrite
        && Files.isRegularFile(place)
        && !replaceable.contains(file.toAbsolutePath().normalize())) {
      throw refused(
          "%s %s is there already; --overwrite replaces it, another %s leaves it"
              .formatted(option, file, option));
    }
  }

  /** Notes a file that the command itself goes on with. */
  Path addWorkingFile(String option, Path file) {
    try {
      Path place = AtomicFile.requireWritable(file);
      String other = taken.putIfAbsent(place, option);
      if (other != null && (!Files.exists(place) || Files.isRegularFile(place))) {
        throw refused("%s %s is the file of %s, too".formatted(option, file, other));
      }
      return place;
    } catch (IOException e) {
      throw refused(option + " " + e.getMessage());
    }
  }

  /** Sets what is told of each file that is complete. */
  void whenWritten(Consumer<Path> value) {
    listener = value;
  }

  /** Notes that a file is complete. */
  void wrote(Path file) {
    written.add(file);
    listener.accept(file);
  }

  /** The files that are complete. */
  List<Path> written() {
    return written;
  }

  /** Checks an output folder. */
  void addFolder(String option, Path folder) {
    try {
      AtomicFolder.requireWritable(folder);
      if (!overwrite && Files.exists(folder) && !UnreadableFiles.names(folder).isEmpty()) {
        throw refused(
            "%s %s has files already; --overwrite replaces those of a model, another %s leaves them"
                .formatted(option, folder, option));
      }
    } catch (IOException e) {
      throw refused(option + " " + e.getMessage());
    }
  }

  private ParameterException refused(String problem) {
    return new ParameterException(spec.commandLine(), problem);
  }
}
