package org.autocircuit.cli;

import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import picocli.CommandLine;
import picocli.CommandLine.Help;
import picocli.CommandLine.Help.Ansi;
import picocli.CommandLine.Model.UsageMessageSpec;

/** Adapts help to the terminal: no colour where none is wanted, and examples in one piece. */
final class Terminal {

  private static final int INDENT = 2;

  private Terminal() {}

  /**
   * Changes a command and all below it.
   *
   * @param environment {@code NO_COLOR} and {@code TERM} count
   */
  static void adapt(CommandLine command, Map<String, String> environment) {
    if (!environment.getOrDefault("NO_COLOR", "").isEmpty()
        || "dumb".equals(environment.get("TERM"))) {
      command.setColorScheme(Help.defaultColorScheme(Ansi.OFF));
    }
    adapt(command);
  }

  private static void adapt(CommandLine command) {
    command.getHelpSectionMap().put(UsageMessageSpec.SECTION_KEY_FOOTER, Terminal::footer);
    command.getSubcommands().values().forEach(Terminal::adapt);
  }

  /** The footer, whose paragraphs are wrapped and whose examples, which are indented, are not. */
  private static String footer(Help help) {
    UsageMessageSpec usage = help.commandSpec().usageMessage();
    return Stream.of(usage.footer())
        .map(
            line ->
                line.startsWith(" ".repeat(INDENT)) ? line : Wrap.lines(line, usage.width() - 1))
        .map(line -> line + System.lineSeparator())
        .collect(Collectors.joining());
  }
}
