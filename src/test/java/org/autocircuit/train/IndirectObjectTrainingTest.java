package org.autocircuit.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.LongStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.Threads;
import org.autocircuit.data.IndirectObjectSentences;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.tokenizer.Tokenizer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class IndirectObjectTrainingTest {

  private static final TransformerConfig CONFIG = IndirectObjectTraining.config(2, 32, 4);

  private static final TrainingOptions OPTIONS = TrainingOptions.DEFAULT.withBatchSize(16);

  @TempDir private Path folder;

  private int threads;

  @BeforeEach
  void oneThread() {
    threads = Threads.get();
    Threads.set(1);
  }

  @AfterEach
  void restoreThreads() {
    Threads.set(threads);
  }

  @Test
  void theLossFallsAndIsTheSameForASeed() {
    List<Double> losses = losses(3);
    assertThat(losses.get(0)).isBetween(5.0, 6.0);
    assertThat(mean(losses.subList(30, 40))).isLessThan(0.8 * losses.get(0));
    assertThat(losses(3)).isEqualTo(losses);
    assertThat(losses(4)).isNotEqualTo(losses);
  }

  @Test
  void runsUntilTheGoalThenCoolsDown() {
    List<String> told = new ArrayList<>();
    TrainingOptions easy =
        TrainingOptions.DEFAULT
            .withSteps(6, 3)
            .withAccuracyGoal(0.001)
            .withMeasureEvery(3)
            .withBatchSize(8)
            .withLearningRate(1e-3);
    try (IndirectObjectTraining training = new IndirectObjectTraining(CONFIG, easy)) {
      List<Long> steps = new ArrayList<>();
      List<Long> most = new ArrayList<>();
      TrainingReport report =
          training.run(
              (step, loss, coolingDown, scores) -> told.add(step + (coolingDown ? " cool" : "")),
              (step, atMost) -> {
                steps.add(step);
                most.add(atMost);
              });
      assertThat(steps).isEqualTo(LongStream.rangeClosed(1, report.steps()).boxed().toList());
      assertThat(most).startsWith(9L, 9L, 9L).endsWith((long) report.steps());
      assertThat(told).hasSizeBetween(2, 3).startsWith("3").endsWith(report.steps() + " cool");
      assertThat(report.steps()).isEqualTo(3 * told.size());
      assertThat(report.loss()).isBetween(3.0, 6.0);
      assertThat(report.scores().abb().sentences()).isEqualTo(1000);
      assertThat(report.scores().others()).hasSize(5);
      assertThat(report.goalReached()).isEqualTo(report.scores().accuracy() >= 0.001);
    }
  }

  @Test
  void savesAFolderThatLoadsWithItsTokenizer() {
    String prompt = "When Mary and John went to the store, John gave a drink to";
    try (IndirectObjectTraining training = new IndirectObjectTraining(CONFIG, OPTIONS)) {
      training.step(1e-3);
      training.save(folder);
      try (PatchableModel loaded = PatchableModel.open(folder);
          Tokenizer tokenizer = Tokenizer.load(folder)) {
        long[][] tokens = {tokenizer.encode(prompt)};
        assertThat(tokens[0]).hasSize(15).startsWith(0);
        assertThat(loaded.config()).isEqualTo(CONFIG);
        assertThat(loaded.logits(tokens, PatchContext.NONE))
            .isEqualTo(training.model().logits(tokens, PatchContext.NONE));
        assertThat(tokenizer.answerToken("Mary"))
            .isEqualTo(IndirectObjectSentences.vocabulary().ids("Mary")[0]);
      }
    }
  }

  @Test
  void refusesASmallVocabularyAndWrongOptions() {
    TransformerConfig small = CONFIG.toBuilder().dVocab(50).build();
    assertThatThrownBy(() -> new IndirectObjectTraining(small, OPTIONS))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("got 50 and 32");
    assertThatThrownBy(() -> OPTIONS.withAccuracyGoal(98))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("accuracyGoal: expected in (0, 1], got 98.0");
    assertThatThrownBy(() -> OPTIONS.withSteps(0, 1))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("maxSteps: expected 1 or more, got 0");
  }

  private static List<Double> losses(long seed) {
    try (IndirectObjectTraining training =
        new IndirectObjectTraining(CONFIG, OPTIONS.withSeed(seed))) {
      List<Double> losses = new ArrayList<>();
      for (int i = 0; i < 40; i++) {
        losses.add(training.step(3e-3));
      }
      return losses;
    }
  }

  private static double mean(List<Double> values) {
    return values.stream().mapToDouble(Double::doubleValue).average().orElseThrow();
  }
}
