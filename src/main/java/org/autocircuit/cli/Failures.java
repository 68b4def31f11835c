package org.autocircuit.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.List;
import java.util.function.BooleanSupplier;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.autocircuit.exception.NativeException;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.exception.PromptDatasetException;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.internal.VisibleText;
import picocli.CommandLine;
import picocli.CommandLine.IExecutionExceptionHandler;
import picocli.CommandLine.IParameterExceptionHandler;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.UnmatchedArgumentException;

/**
 * Turns exceptions into one line on standard error (of prompts a line for each problem), and an
 * exit code.
 */
final class Failures implements IExecutionExceptionHandler, IParameterExceptionHandler {

  /** Exceptions whose messages are written for people. */
  private static final List<Class<? extends Exception>> EXPECTED =
      List.of(
          IllegalArgumentException.class,
          IllegalStateException.class,
          NativeException.class,
          NotFiniteException.class,
          UncheckedIOException.class,
          IOException.class);

  private static final Pattern OPTION = Pattern.compile("--?[a-zA-Z]");

  private final BooleanSupplier debug;

  Failures(BooleanSupplier debug) {
    this.debug = debug;
  }

  @Override
  public int handleParseException(ParameterException e, String[] arguments) {
    CommandLine command = e.getCommandLine();
    StringWriter suggestions = new StringWriter();
    UnmatchedArgumentException.printSuggestions(e, new PrintWriter(suggestions, true));
    String hint = suggestions.toString().strip().replaceAll("\\s+", " ");
    print(
        command,
        "%s %s'%s --help' says what there is"
            .formatted(
                ended(firstLine(message(e))),
                hint.isEmpty() ? "" : hint + "; ",
                command.getCommandSpec().qualifiedName()),
        e);
    return Main.USAGE;
  }

  /** Names unknown options without the values behind them. */
  private static String message(ParameterException e) {
    if (!(e instanceof UnmatchedArgumentException unmatched && unmatched.isUnknownOption())) {
      return e.getMessage();
    }
    List<String> options =
        unmatched.getUnmatched().stream().filter(word -> OPTION.matcher(word).lookingAt()).toList();
    return "%s: '%s'"
        .formatted(
            options.size() == 1 ? "Unknown option" : "Unknown options",
            String.join("', '", options));
  }

  @Override
  public int handleExecutionException(Exception e, CommandLine command, ParseResult parsed) {
    if (e instanceof ClosedOutput) {
      return Main.CLOSED;
    }
    if (e instanceof StoppedException) {
      print(command, "stopped before the end" + kept(command), e);
      return Main.STOPPED;
    }
    boolean expected = EXPECTED.stream().anyMatch(type -> type.isInstance(e));
    String message = e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
    print(
        command,
        expected
            ? (e instanceof PromptDatasetException ? visibleLines(message) : firstLine(message))
            : "unexpected %s: %s (--debug shows where)"
                .formatted(e.getClass().getSimpleName(), firstLine(message)),
        e);
    return Main.FAILURE;
  }

  /** Says what a command that writes files has done for good. */
  private static String kept(CommandLine command) {
    List<Outputs> outputs =
        command.getCommandSpec().mixins().values().stream()
            .map(CommandSpec::userObject)
            .filter(Outputs.class::isInstance)
            .map(Outputs.class::cast)
            .toList();
    if (outputs.isEmpty()) {
      return "";
    }
    String written =
        outputs.stream()
            .flatMap(each -> each.written().stream())
            .map(Path::toString)
            .map(VisibleText::of)
            .collect(Collectors.joining(", "));
    return (written.isEmpty() ? "; no file was written" : "; complete: " + written)
        + CheckpointOption.advice(command.getCommandSpec()).map(advice -> "; " + advice).orElse("");
  }

  private void print(CommandLine command, String line, Exception e) {
    PrintWriter err = command.getErr();
    err.println("autocircuit: " + line);
    if (debug.getAsBoolean()) {
      e.printStackTrace(err);
    }
    err.flush();
  }

  /** Prints what is probably not meant, a line each. */
  static void warn(PrintWriter err, List<String> warnings) {
    warnings.forEach(line -> err.println("warning: " + VisibleText.of(line)));
    err.flush();
  }

  private static String visibleLines(String message) {
    return message.lines().map(VisibleText::of).collect(Collectors.joining(System.lineSeparator()));
  }

  /** A clause that another one follows. */
  private static String ended(String text) {
    return text.endsWith("?") ? text : text + ";";
  }

  private static String firstLine(String message) {
    return VisibleText.of(message.lines().findFirst().orElse("").strip());
  }
}
