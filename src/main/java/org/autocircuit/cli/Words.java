package org.autocircuit.cli;

import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import picocli.CommandLine;
import picocli.CommandLine.Model.ArgSpec;
import picocli.CommandLine.TypeConversionException;

/** Reads words of the command line as values, one way for all commands. */
final class Words {

  private Words() {}

  /** Registers readers of files, and of all enums that options of subcommands take. */
  static void register(CommandLine command) {
    command.registerConverter(Path.class, Words::path);
    for (CommandLine subcommand : command.getSubcommands().values()) {
      for (ArgSpec argument : subcommand.getCommandSpec().args()) {
        for (Class<?> type : argument.auxiliaryTypes()) {
          if (type.isEnum()) {
            register(command, type.asSubclass(Enum.class));
          }
        }
      }
    }
  }

  @SuppressWarnings("unchecked") // the type of an enum is its own
  private static <E extends Enum<E>> void register(CommandLine command, Class<?> type) {
    command.registerConverter((Class<E>) type, Names.ofEnum((Class<E>) type));
  }

  private static Path path(String text) {
    if (text.isBlank()) {
      throw new TypeConversionException(
          "expected the name of a file or folder, got '" + text + "'");
    }
    try {
      return Path.of(text);
    } catch (InvalidPathException e) {
      throw new TypeConversionException("no name of a file: " + e.getMessage());
    }
  }
}
