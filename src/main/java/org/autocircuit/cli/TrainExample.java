package org.autocircuit.cli;

import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.autocircuit.Threads;
import org.autocircuit.data.Sentence.Pattern;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.report.TextTable;
import org.autocircuit.train.AnswerScore;
import org.autocircuit.train.HeldOutScores;
import org.autocircuit.train.IndirectObjectTraining;
import org.autocircuit.train.TrainingOptions;
import org.autocircuit.train.TrainingReport;
import picocli.CommandLine.Command;
import picocli.CommandLine.ExitCode;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Trains a model like the one that comes with the library. */
@Command(
    name = "train-example",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    description = {
      "Trains a small GPT-2 on generated indirect-object sentences (\"When Mary and John went to"
          + " the store, John gave a drink to\" -> \"Mary\") mixed with other patterns, and saves"
          + " it as a Hugging Face folder. The defaults make the model that comes with the program.",
      "Progress goes to standard error: the training loss, and the accuracy on held-out"
          + " indirect-object sentences whose answer is the first name (ABB) or the second (BAB).",
      "The result is the same for the same seed, sizes, number of threads and kind of processor."
    },
    footerHeading = "%nExample:%n",
    footer = {
      "  autocircuit train-example --output my-model",
      "  autocircuit discover --model my-model --prompts pairs.json"
    })
final class TrainExample implements Callable<Integer> {

  @Spec private CommandSpec spec;

  @Option(
      names = {"-o", "--output"},
      paramLabel = "FOLDER",
      required = true,
      description = "Where to save the model; made if need be.")
  private Path output;

  @Option(
      names = "--seed",
      paramLabel = "N",
      description = "Chooses initial weights and sentences. Default: ${DEFAULT-VALUE}.")
  private long seed = TrainingOptions.DEFAULT.seed();

  @Option(
      names = "--until",
      paramLabel = "SHARE",
      description =
          "Held-out accuracy in both orders of the names at which the learning rate begins to"
              + " fall. Default: ${DEFAULT-VALUE}.")
  private double until = TrainingOptions.DEFAULT.accuracyGoal();

  @Option(
      names = "--steps",
      paramLabel = "N",
      description = "At most so many steps until then. Default: ${DEFAULT-VALUE}.")
  private int steps = TrainingOptions.DEFAULT.maxSteps();

  @Option(
      names = "--cool-down",
      paramLabel = "N",
      description = "Steps while the learning rate falls to zero. Default: ${DEFAULT-VALUE}.")
  private int coolDown = TrainingOptions.DEFAULT.coolDownSteps();

  @Option(
      names = "--batch-size",
      paramLabel = "N",
      description = "Sentences per step. Default: ${DEFAULT-VALUE}.")
  private int batchSize = TrainingOptions.DEFAULT.batchSize();

  @Option(names = "--layers", paramLabel = "N", description = "Blocks. Default: ${DEFAULT-VALUE}.")
  private int layers = IndirectObjectTraining.DEFAULT_CONFIG.nLayers();

  @Option(
      names = "--heads",
      paramLabel = "N",
      description = "Heads of a block. Default: ${DEFAULT-VALUE}.")
  private int heads = IndirectObjectTraining.DEFAULT_CONFIG.nHeads();

  @Option(
      names = "--d-model",
      paramLabel = "N",
      description = "Width, a multiple of the number of heads. Default: ${DEFAULT-VALUE}.")
  private int dModel = IndirectObjectTraining.DEFAULT_CONFIG.dModel();

  @Option(
      names = "--threads",
      paramLabel = "N",
      description =
          "Threads of the computation; with another number the weights come out slightly"
              + " different. Default: ${DEFAULT-VALUE}.")
  private int threads = 1;

  @Mixin private Outputs outputs;

  private long begin;

  @Override
  public Integer call() {
    begin = System.nanoTime();
    PrintWriter out = spec.commandLine().getOut();
    PrintWriter err = spec.commandLine().getErr();
    outputs.addFolder("--output", output);
    TrainingReport report;
    try (IndirectObjectTraining training = training();
        PhaseProgress progress = PhaseProgress.lines("training", err, System::nanoTime)) {
      report =
          training.run(
              (step, loss, coolingDown, scores) -> {
                err.println(line(step, loss, coolingDown, scores));
                err.flush();
              },
              progress);
      training.save(output);
      outputs.wrote(output);
    }
    print(report, out);
    if (report.goalReached()) {
      return ExitCode.OK;
    }
    err.println("autocircuit: the accuracy is below " + percent(until) + "; allow more --steps");
    err.flush();
    return ExitCode.SOFTWARE;
  }

  private IndirectObjectTraining training() {
    TransformerConfig config;
    TrainingOptions options;
    try {
      Threads.set(threads);
      config = IndirectObjectTraining.config(layers, dModel, heads);
      options =
          TrainingOptions.DEFAULT
              .withSeed(seed)
              .withAccuracyGoal(until)
              .withSteps(steps, coolDown)
              .withBatchSize(batchSize);
    } catch (IllegalArgumentException e) {
      throw new ParameterException(spec.commandLine(), e.getMessage(), e);
    }
    return new IndirectObjectTraining(config, options);
  }

  private String line(int step, double loss, boolean coolingDown, HeldOutScores scores) {
    return String.format(
        Locale.ROOT,
        "step %,d (%s): loss %.3f, held-out accuracy ABB %s, BAB %s%s",
        step,
        seconds(),
        loss,
        percent(scores.abb().accuracy()),
        percent(scores.bab().accuracy()),
        coolingDown ? ", cooling down" : "");
  }

  private void print(TrainingReport report, PrintWriter out) {
    out.printf(
        Locale.ROOT,
        "Saved to %s after %,d steps in %s; training loss %.3f.%n%n",
        VisibleText.of(output.toString()),
        report.steps(),
        seconds(),
        report.loss());
    TextTable table =
        new TextTable().left("held-out sentences").right("number").right("accuracy").right("loss");
    addRow(table, "indirect object, ABB", report.scores().abb());
    addRow(table, "indirect object, BAB", report.scores().bab());
    for (Map.Entry<Pattern, AnswerScore> other : report.scores().others().entrySet()) {
      String name = other.getKey().name().toLowerCase(Locale.ROOT).replace('_', ' ');
      addRow(table, name, other.getValue());
    }
    out.print(table);
    out.flush();
  }

  private static void addRow(TextTable table, String name, AnswerScore score) {
    table.row(
        name,
        Integer.toString(score.sentences()),
        percent(score.accuracy()),
        String.format(Locale.ROOT, "%.3f", score.loss()));
  }

  private static String percent(double share) {
    return String.format(Locale.ROOT, "%.1f %%", 100 * share);
  }

  private String seconds() {
    return String.format(Locale.ROOT, "%.0f s", (System.nanoTime() - begin) / 1e9);
  }
}
