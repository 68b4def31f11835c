package org.autocircuit.train;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.checkpoint.Checkpoints;
import org.autocircuit.checkpoint.HuggingFaceConfig;
import org.autocircuit.data.IndirectObjectSentences;
import org.autocircuit.data.Sentence;
import org.autocircuit.data.TrainingBatch;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.AtomicFolder;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Stop;
import org.autocircuit.model.Model;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Use;
import org.autocircuit.tokenizer.WordLevelVocabulary;

/**
 * Trains a small GPT-2 on {@link IndirectObjectSentences}, from random weights to a model that
 * tells indirect objects of names and templates it has never seen together. The model that comes
 * with the library was made by it, with the defaults.
 *
 * <p>All tokens are learned from; the sentence's last word, the one that can be told, weighs more
 * than the others. Sentences begin with the end-of-text token, as the saved tokenizer's prompts do.
 *
 * <p>For a seed, the course of the training depends on nothing but the number of threads and the
 * processor, whose vectors decide in which order numbers are added.
 *
 * <p>Close it; the model goes with it. For one thread.
 *
 * <pre>{@code
 * try (IndirectObjectTraining training =
 *     new IndirectObjectTraining(
 *         IndirectObjectTraining.DEFAULT_CONFIG, TrainingOptions.DEFAULT)) {
 *   TrainingReport report = training.run((step, loss, coolingDown, scores) -> {});
 *   training.save(Path.of("indirect-object"));
 * }
 * }</pre>
 */
public final class IndirectObjectTraining implements AutoCloseable {

  /** The structure of the model that comes with the library. */
  public static final TransformerConfig DEFAULT_CONFIG = config(4, 96, 8);

  /** Measurements during training and the last one draw other sentences than training does. */
  private static final long MEASURING_SEED = 0x6d656173;

  private static final long REPORT_SEED = 0x7265706f;
  private static final int MEASURED_SENTENCES = 200;
  private static final int REPORTED_SENTENCES = 1000;

  private final TrainingOptions options;
  private final IndirectObjectSentences sentences;
  private final Model model;
  private final PatchableModel runnable;
  private final Trainer trainer;
  private int step;
  private double lossSum;
  private int lossCount;
  private double meanLoss;

  /**
   * Makes a model of random weights.
   *
   * @param config its vocabulary and context must be large enough for the language: see {@link
   *     #config}
   * @param options how to train
   * @throws IllegalArgumentException if the vocabulary or the context is too small
   */
  public IndirectObjectTraining(TransformerConfig config, TrainingOptions options) {
    int words = IndirectObjectSentences.vocabulary().size();
    if (config.dVocab() < words || config.nCtx() < IndirectObjectSentences.MAX_TOKENS) {
      throw new IllegalArgumentException(
          "config: expected a vocabulary of at least %s and a context of at least %s, got %s and %s"
              .formatted(
                  words, IndirectObjectSentences.MAX_TOKENS, config.dVocab(), config.nCtx()));
    }
    this.options = options;
    sentences = new IndirectObjectSentences(options.seed());
    try (CallScope scope = new CallScope()) {
      model = Model.of(config, InitialWeights.of(config, options.seed()));
    }
    // Wrapped at residuals only: wrapped heads would each compute an output that nobody reads.
    runnable = PatchableModel.of(model, PatchableModelOptions.defaults().withFactorized(false));
    trainer = new Trainer(runnable, options.weightDecay());
  }

  /**
   * A structure that fits the language.
   *
   * @param nLayers blocks
   * @param dModel width, divisible by {@code nHeads}; the MLPs are four times as wide
   * @param nHeads heads in each block
   */
  public static TransformerConfig config(int nLayers, int dModel, int nHeads) {
    return TransformerConfig.builder()
        .nLayers(nLayers)
        .dModel(dModel)
        .nHeads(nHeads)
        .dVocab(IndirectObjectSentences.vocabulary().size())
        .nCtx(32)
        .build();
  }

  /**
   * Trains until the goal is reached or the steps are used up, then cools down and measures.
   *
   * @param listener is told every measurement
   * @param progress is told every step, of the largest number that there can be
   * @throws org.autocircuit.exception.StoppedException if it was stopped; the model is as the last
   *     step left it, and can be saved
   */
  public TrainingReport run(TrainingListener listener, Progress progress) {
    try (Use use = runnable.use()) {
      return train(listener, progress);
    }
  }

  /** As {@link #run(TrainingListener, Progress)}, without reports of steps. */
  public TrainingReport run(TrainingListener listener) {
    return run(listener, Progress.NONE);
  }

  private TrainingReport train(TrainingListener listener, Progress progress) {
    int coolDown = options.coolDownSteps();
    boolean reached = false;
    while (!reached && step < options.maxSteps()) {
      step(options.learningRate() * Math.min(1, (step + 1.0) / TrainingOptions.WARM_UP_STEPS));
      progress.report(step, options.maxSteps() + coolDown);
      if (step % options.measureEvery() == 0) {
        reached = measure(listener, false).accuracy() >= options.accuracyGoal();
      }
    }
    for (int left = coolDown; left > 0; left--) {
      step(options.learningRate() * left / coolDown);
      progress.report(step, step + left - 1);
      if (step % options.measureEvery() == 0) {
        measure(listener, true);
      }
    }
    HeldOutScores scores = HeldOutScores.of(runnable, REPORT_SEED, REPORTED_SENTENCES);
    return new TrainingReport(
        step, takeMeanLoss(), scores, scores.accuracy() >= options.accuracyGoal());
  }

  /**
   * Makes one step.
   *
   * @return the loss before it
   */
  double step(double learningRate) {
    Stop.check();
    WordLevelVocabulary vocabulary = IndirectObjectSentences.vocabulary();
    List<Sentence> drawn =
        Stream.generate(sentences::nextTraining).limit(options.batchSize()).toList();
    TrainingBatch batch = TrainingBatch.of(drawn, vocabulary);
    float[][] weights = new float[drawn.size()][];
    for (int row = 0; row < weights.length; row++) {
      // The token before the answer is the prompt's last; the first is no word of it.
      int answer = vocabulary.ids(drawn.get(row).prompt()).length;
      weights[row] = weights(batch.targets()[row], answer);
    }
    double loss = trainer.step(batch, weights, learningRate);
    step++;
    lossSum += loss;
    lossCount++;
    return loss;
  }

  private float[] weights(long[] targets, int answer) {
    float[] weights = new float[targets.length];
    for (int position = 0; position < targets.length; position++) {
      weights[position] = targets[position] == TrainingBatch.IGNORED ? 0 : 1;
    }
    weights[answer] = (float) options.answerWeight();
    return weights;
  }

  private HeldOutScores measure(TrainingListener listener, boolean coolingDown) {
    HeldOutScores scores = HeldOutScores.of(runnable, MEASURING_SEED, MEASURED_SENTENCES);
    listener.measured(step, takeMeanLoss(), coolingDown, scores);
    return scores;
  }

  private double takeMeanLoss() {
    if (lossCount > 0) {
      meanLoss = lossSum / lossCount;
      lossSum = 0;
      lossCount = 0;
    }
    return meanLoss;
  }

  /** The model as it is now, made patchable; closed with the training. */
  public PatchableModel model() {
    return runnable;
  }

  /**
   * Saves the model as it is now with its tokenizer, as a Hugging Face GPT-2 folder, whose files
   * take their places when all are complete.
   *
   * @param folder made if need be
   * @throws CheckpointException if writing fails
   */
  public void save(Path folder) {
    WordLevelVocabulary vocabulary = IndirectObjectSentences.vocabulary();
    int endOfText = Math.toIntExact(vocabulary.endOfText());
    HuggingFaceConfig config =
        HuggingFaceConfig.of((TransformerConfig) model.config())
            .withBosTokenId(endOfText)
            .withEosTokenIds(List.of(endOfText));
    try {
      AtomicFolder.write(
          folder,
          HuggingFaceConfig.FILE_NAME,
          beside -> {
            Checkpoints.save(model, beside);
            vocabulary.write(beside, true);
            config.write(beside);
          });
    } catch (IOException e) {
      throw new CheckpointException(e.getMessage(), e);
    }
  }

  /** Frees the training and the model. Does nothing the second time. */
  @Override
  public void close() {
    trainer.close();
    runnable.close();
    model.close();
  }
}
