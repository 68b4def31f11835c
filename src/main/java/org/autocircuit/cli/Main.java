package org.autocircuit.cli;

import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.logging.Level;
import java.util.logging.Logger;
import picocli.AutoComplete;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.ScopeType;
import picocli.CommandLine.Spec;

/**
 * The command line. Exit codes: {@value #OK} if all went well, {@value #FAILURE} if a model or
 * prompts could not be used, or a computation failed, {@value #USAGE} if options were wrong,
 * {@value #STOPPED} if it was stopped, {@value #CLOSED} if nobody reads its output. Results go to
 * standard output, progress and errors to standard error.
 */
@Command(
    name = "autocircuit",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    description = "Finds and runs circuits in transformers.",
    synopsisSubcommandLabel = "COMMAND",
    subcommands = {
      Discover.class,
      DrawPatchMap.class,
      Evaluate.class,
      Compare.class,
      ShowGraph.class,
      RunPrompt.class,
      Generate.class,
      Serve.class,
      Explore.class,
      TrainExample.class,
      ShowInfo.class,
      CommandLine.HelpCommand.class,
      AutoComplete.GenerateCompletion.class
    },
    footerHeading = "%nExamples:%n",
    footer = {
      "  autocircuit discover",
      "  autocircuit discover --model gpt2 --prompts pairs.json --output gpt2.json --no-picture",
      "  autocircuit discover --options gpt2.properties --seed 7",
      "  autocircuit patch-map --of heads --together",
      "  autocircuit evaluate --scores autocircuit-scores.json --ablation zero",
      "  autocircuit compare --methods eap,eap-ig,exact",
      "  autocircuit graph gpt2/config.json",
      "  autocircuit run --prompt \"...\" --corrupt \"...\" --patch \"A3.0->Resid End\"",
      "  autocircuit generate --prompt \"...\" --corrupt \"...\" --patch \"A3.0->Resid End\" --both",
      "  autocircuit serve --model gpt2 --port 8080",
      "  autocircuit explore",
      "",
      "'autocircuit help COMMAND' says more about each command.",
      "'source <(autocircuit generate-completion)' lets bash and zsh complete its words."
    },
    exitCodeListHeading = "%nExit codes:%n",
    exitCodeList = {
      " 0:all went well",
      " 1:a model or prompts could not be used, or a computation failed",
      " 2:wrong options",
      "130:stopped before the end, for instance by Ctrl-C",
      "141:nobody reads the output any more, as after '| head -1'"
    })
public final class Main implements Callable<Integer> {

  /** Exit code: all went well. */
  public static final int OK = 0;

  /** Exit code: a model or prompts could not be used, or a computation failed. */
  public static final int FAILURE = 1;

  /** Exit code: wrong options. */
  public static final int USAGE = 2;

  /** Exit code: stopped before the end, by Ctrl-C. */
  public static final int STOPPED = 130;

  /** Exit code: nobody reads the standard output any more, as a shell has it for SIGPIPE. */
  public static final int CLOSED = 141;

  /** The time that a process asked to end waits for its command to say what it did. */
  private static final int PATIENCE_SECONDS = 10;

  /** Kept, since Java forgets the settings of loggers that nobody holds. */
  private static final Logger LOG = Logger.getLogger("org.autocircuit");

  @Spec private CommandSpec spec;

  @Option(
      names = "--debug",
      scope = ScopeType.INHERIT,
      description = "Show where an error happened.")
  private boolean debug;

  @SuppressWarnings("UnusedVariable") // what the file has is in place before words are parsed
  @Option(
      names = OptionsFile.NAME,
      paramLabel = "FILE",
      scope = ScopeType.INHERIT,
      description =
          "Options from a properties file: a line batch-size=8 is for every command that has the"
              + " option, discover.method=exact for one of them. What is typed wins.")
  private Path options;

  private Main() {}

  /** Runs a command and ends the process with its exit code. */
  public static void main(String[] arguments) {
    // The commands themselves say what they load.
    if (System.getProperty("java.util.logging.config.file") == null) {
      LOG.setLevel(Level.WARNING);
    }
    CountDownLatch said = new CountDownLatch(1);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> await(said), "autocircuit-command"));
    int code = execute(commandLine(), arguments);
    said.countDown();
    System.exit(code);
  }

  private static void await(CountDownLatch said) {
    try {
      said.await(PATIENCE_SECONDS, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static int execute(CommandLine command, String[] arguments) {
    try {
      int code = command.execute(arguments);
      return code == OK && ClosedOutput.isClosed(command.getOut()) ? CLOSED : code;
    } catch (OutOfMemoryError e) {
      command.getErr().println("autocircuit: out of memory: " + e.getMessage());
      command.getErr().println("Smaller batches need less: --batch-size, where a command has it.");
      command.getErr().flush();
      return FAILURE;
    }
  }

  /** The command line, ready to execute arguments; writers can be set to capture what it prints. */
  public static CommandLine commandLine() {
    Main main = new Main();
    CommandLine command =
        new CommandLine(main) {
          @Override
          public ParseResult parseArgs(String... arguments) {
            String[] all;
            try {
              all = OptionsFile.expand(configured(new Main()), arguments);
            } catch (ParameterException e) {
              throw new ParameterException(this, e.getMessage(), e);
            }
            return super.parseArgs(all);
          }
        };
    return configured(command, main);
  }

  private static CommandLine configured(Main main) {
    return configured(new CommandLine(main), main);
  }

  private static CommandLine configured(CommandLine command, Main main) {
    Words.register(command);
    Terminal.adapt(command, System.getenv());
    return command
        .setCaseInsensitiveEnumValuesAllowed(true)
        .setUsageHelpAutoWidth(true)
        .setAbbreviatedOptionsAllowed(false)
        .setExecutionExceptionHandler(new Failures(() -> main.debug))
        .setParameterExceptionHandler(new Failures(() -> main.debug));
  }

  /** Without a command there is nothing to do but to say which there are. */
  @Override
  public Integer call() {
    PrintWriter err = spec.commandLine().getErr();
    spec.commandLine().usage(err);
    err.flush();
    return USAGE;
  }
}
