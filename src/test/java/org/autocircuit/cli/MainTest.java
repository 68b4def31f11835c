package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import picocli.CommandLine;

class MainTest {

  @Test
  void helpTeaches() {
    CommandRun run = CommandRun.of("--help");
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(run.out())
        .contains("discover", "graph", "run", "Examples:", "Exit codes:", "wrong options")
        .contains("autocircuit discover --model gpt2");
    assertThat(run.err()).isEmpty();
  }

  @Test
  void everyCommandHasHelpWithExamples() {
    Main.commandLine().getSubcommands().keySet().stream()
        .filter(name -> !name.equals("help") && !name.equals("generate-completion"))
        .forEach(
            name -> {
              CommandRun run = CommandRun.of(name, "--help");
              assertThat(run.code()).as(name).isEqualTo(Main.OK);
              assertThat(run.out()).as(name).contains("Usage: autocircuit " + name, "\nExample");
              assertThat(run.out().lines()).as(name).allMatch(line -> line.length() <= 100);
            });
  }

  @Test
  void helpFitsSixtyColumnsButForExamplesWhichStayInOnePiece() {
    Main.commandLine()
        .getSubcommands()
        .forEach(
            (name, command) -> {
              command.setUsageHelpAutoWidth(false).setUsageHelpWidth(60);
              String help = command.getUsageMessage(CommandLine.Help.Ansi.OFF);
              assertThat(help.lines())
                  .as(name)
                  .allMatch(line -> line.length() <= 60 || line.startsWith("  "));
              for (String example : command.getCommandSpec().usageMessage().footer()) {
                if (example.startsWith("  ")) {
                  assertThat(help.lines()).as(name).contains(example);
                }
              }
            });
  }

  @Test
  void nothingIsColouredWhereThatIsNotWanted() {
    for (Map<String, String> environment :
        List.of(Map.of("NO_COLOR", "1"), Map.of("TERM", "dumb"))) {
      CommandLine command = Main.commandLine();
      command.setColorScheme(CommandLine.Help.defaultColorScheme(CommandLine.Help.Ansi.ON));
      Terminal.adapt(command, environment);
      assertThat(command.getSubcommands().get("discover").getUsageMessage())
          .doesNotContain("\u001b");
    }
    CommandLine command = Main.commandLine();
    command.setColorScheme(CommandLine.Help.defaultColorScheme(CommandLine.Help.Ansi.ON));
    Terminal.adapt(command, Map.of("TERM", "xterm", "NO_COLOR", ""));
    assertThat(command.getSubcommands().get("discover").getUsageMessage()).contains("\u001b");
  }

  @Test
  void helpOfACommandIsPrinted() {
    CommandRun run = CommandRun.of("help", "evaluate");
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(run.out()).isEqualTo(CommandRun.of("evaluate", "--help").out());
  }

  @Test
  void aShellCanComplete() {
    CommandRun run = CommandRun.of("generate-completion");
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(run.out()).contains("bash", "--overwrite", "edge-pruning", "complete -F");
  }

  @Test
  void infoSaysWhatTheProgramRunsOn() {
    CommandRun run = CommandRun.of("info");
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    assertThat(run.out())
        .containsPattern("program +autocircuit .*Java \\d")
        .containsPattern("LibTorch +presets ")
        .containsPattern("machine +\\S")
        .containsPattern("devices +cpu")
        .containsPattern("threads +\\d+ of the computation")
        .containsPattern("memory +[\\d,]+ MiB");
  }

  @Test
  void versionIsPrinted() {
    CommandRun run = CommandRun.of("--version");
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(run.out()).startsWith("autocircuit ").contains("Java ");
  }

  @Test
  void noCommandIsAUsageError() {
    CommandRun run = CommandRun.of();
    assertThat(run.code()).isEqualTo(Main.USAGE);
    assertThat(run.err()).contains("Usage: autocircuit");
  }

  /** A lone sign of per cent would be printed with a warning. */
  @Test
  void descriptionsCanBeFormatted() {
    for (CommandLine command : Main.commandLine().getSubcommands().values()) {
      for (String text : command.getCommandSpec().usageMessage().description()) {
        assertThatCode(() -> String.format(Locale.ROOT, text)).doesNotThrowAnyException();
      }
    }
  }

  @Test
  void unknownWordsGetASuggestion() {
    CommandRun command = CommandRun.of("discovr");
    assertThat(command.code()).isEqualTo(Main.USAGE);
    assertThat(command.err()).contains("discovr", "discover");
    CommandRun option = CommandRun.of("discover", "--promts", "x");
    assertThat(option.code()).isEqualTo(Main.USAGE);
    assertThat(option.err()).contains("--promts", "--prompts");
    assertThat(option.err().lines()).hasSize(1);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"discover --overwrite", "run --prompt x", "train-example --output target/none"})
  void aComputationWithoutThreadsOrWithMoreThanProcessesHaveIsWrongUsage(String command) {
    for (int threads : new int[] {0, -1, 99_999, Integer.MAX_VALUE}) {
      CommandRun run = CommandRun.of((Object[]) (command + " --threads " + threads).split(" "));
      assertThat(run.code()).isEqualTo(Main.USAGE);
      assertThat(run.out()).isEmpty();
      assertThat(errors(run)).hasSize(1);
      assertThat(errors(run).get(0)).containsPattern("threads: expected 1 to \\d+, got " + threads);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"discover --overwrite", "run --prompt x"})
  void aDeviceThatIsNotThereIsWrongUsage(String command) {
    for (String device : List.of("cuda:99", "gpu", "meta")) {
      CommandRun run = CommandRun.of((Object[]) (command + " --device " + device).split(" "));
      assertThat(run.code()).isEqualTo(Main.USAGE);
      assertThat(run.out()).isEmpty();
      assertThat(errors(run)).hasSize(1);
      assertThat(errors(run).get(0)).startsWith("autocircuit: --device").contains(device);
    }
  }

  /** Returns what a command said beside how long it had been loading. */
  private static List<String> errors(CommandRun run) {
    return run.err().lines().filter(line -> !line.endsWith(" s ...")).toList();
  }

  @Test
  void unexpectedExceptionsSayHowToLearnMore() {
    StringWriter err = new StringWriter();
    int code =
        new Failures(() -> false)
            .handleExecutionException(
                new UnsupportedOperationException("no\nway"),
                Main.commandLine().setErr(new PrintWriter(err)),
                null);
    assertThat(code).isEqualTo(Main.FAILURE);
    assertThat(err)
        .hasToString(
            "autocircuit: unexpected UnsupportedOperationException: no (--debug shows where)"
                + System.lineSeparator());
  }

  /** A terminal obeys what follows its escape character; a file's name may hold it. */
  @Test
  void whatATerminalWouldObeyIsShown() {
    CommandRun folder = CommandRun.of("run", "--model", "no\u001b[31mfolder", "--prompt", "a");
    assertThat(folder.err()).contains("no\\u001b[31mfolder").doesNotContain("\u001b");
    CommandRun option = CommandRun.of("run", "--prompt", "a", "--no\u001b[31m");
    assertThat(option.err()).contains("\\u001b[31m").doesNotContain("\u001b");
    CommandRun prompt = CommandRun.of("run", "--prompt", "Mary\u001b[31m");
    assertThat(prompt.out() + prompt.err()).doesNotContain("\u001b");
  }
}
