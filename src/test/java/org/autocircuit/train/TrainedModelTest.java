package org.autocircuit.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.Threads;
import org.autocircuit.data.IndirectObjectPrompts;
import org.autocircuit.data.IndirectObjectSentences;
import org.autocircuit.data.PromptBatches;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.data.Sentence.Pattern;
import org.autocircuit.eval.AnswerMetrics;
import org.autocircuit.eval.AnswerScale;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.eval.Logits;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.model.Model;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.RandomPruneScores;
import org.autocircuit.tokenizer.Tokenizer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The model that comes with the library. */
class TrainedModelTest {

  private static Path folder;
  private static PatchableModel model;
  private static Tokenizer tokenizer;
  private static int threads;

  @BeforeAll
  static void load() throws URISyntaxException {
    threads = Threads.get();
    Threads.set(1);
    folder =
        Path.of(
                Objects.requireNonNull(Model.class.getResource("indirect-object/config.json"))
                    .toURI())
            .getParent();
    model =
        PatchableModel.open(
            folder, PatchableModelOptions.defaults().withOutputSlice(OutputSlice.LAST_SEQ));
    tokenizer = Tokenizer.load(folder);
  }

  @AfterAll
  static void close() {
    tokenizer.close();
    model.close();
    Threads.set(threads);
  }

  @Test
  void isWhatTheDefaultsMake() {
    assertThat(model.config()).isEqualTo(IndirectObjectTraining.DEFAULT_CONFIG);
  }

  @Test
  void isSmall() throws IOException {
    long bytes = 0;
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.toList()) {
        bytes += Files.size(file);
      }
    }
    assertThat(bytes).isLessThan(3_000_000);
  }

  @Test
  void tellsHeldOutIndirectObjects() {
    HeldOutScores scores = HeldOutScores.of(model, 4711, 300);
    assertThat(scores.abb().accuracy()).isGreaterThanOrEqualTo(0.98);
    assertThat(scores.bab().accuracy()).isGreaterThanOrEqualTo(0.98);
    assertThat(scores.others().get(Pattern.AGREEMENT).accuracy()).isGreaterThan(0.95);
    assertThat(scores.others().get(Pattern.GREETING).accuracy()).isGreaterThan(0.95);
    // Nobody can tell which of two names follows, nor be sure to name either in half the cases.
    assertThat(scores.others().get(Pattern.THREE_NAMES).accuracy()).isBetween(0.4, 0.6);
  }

  /** Nothing is greater than NaN, so that an answer of NaN could pass for the greatest. */
  @Test
  void logitsThatAreNoNumbersAreNoAnswers() {
    try (PatchableModel broken = PatchableModel.open(folder);
        PointerScope scope = new PointerScope()) {
      broken.weights().get("ln_final.w").fill_(new Scalar(Double.NaN));
      assertThatExceptionOfType(NotFiniteException.class)
          .isThrownBy(() -> HeldOutScores.of(broken, 4711, 10))
          .withMessageContaining("logits are not finite");
    }
  }

  @Test
  void tellsThemFromTokenizedPromptsButNotFromCorruptOnes() {
    PromptBatches batches =
        PromptBatches.of(
            new IndirectObjectSentences(4712).heldOutPrompts(300),
            tokenizer,
            PromptBatches.Options.ofSize(100).withGroupByLength());
    double right = 0;
    double clean = 0;
    double corrupt = 0;
    int prompts = 0;
    for (PromptPairBatch batch : batches) {
      Logits logits = Logits.of(model.logits(batch.clean(), PatchContext.NONE));
      for (boolean top : AnswerMetrics.isTop(logits, batch.answers())) {
        right += top ? 1 : 0;
      }
      clean += sumOfDifferences(batch.clean(), batch);
      corrupt += sumOfDifferences(batch.corrupt(), batch);
      prompts += batch.size();
    }
    assertThat(prompts).isEqualTo(300);
    assertThat(right / prompts).isGreaterThanOrEqualTo(0.98);
    assertThat(clean / prompts).isGreaterThan(3);
    assertThat(corrupt / prompts).isBetween(-0.5, 0.5);
  }

  @Test
  void aSmallCircuitDoesMostOfTheWork() {
    List<PromptPairBatch> batches =
        PromptBatches.of(IndirectObjectPrompts.builtIn(), tokenizer, 64).batches();
    PruneScores scores = MaskGradient.builder().build().pruneScores(model, batches);
    double full = CircuitMeasures.ofModel(model, batches).logitDifference();
    int edges = model.graph().nEdges() / 10;
    assertThat(measure(scores, edges, batches).logitDifference()).isGreaterThan(0.7 * full);
    PruneScores random = RandomPruneScores.of(model.graph(), 1);
    assertThat(measure(random, edges, batches).logitDifference()).isLessThan(0.2 * full);
  }

  private static double sumOfDifferences(long[][] tokens, PromptPairBatch batch) {
    return Arrays.stream(
            AnswerMetrics.differences(
                Logits.of(model.logits(tokens, PatchContext.NONE)),
                batch.answers(),
                batch.wrongAnswers(),
                AnswerScale.LOGIT))
        .sum();
  }

  private static CircuitMeasures measure(
      PruneScores scores, int edges, List<PromptPairBatch> batches) {
    return CircuitRuns.builder(scores)
        .sizes(List.of(edges))
        .patchType(PatchType.TREE_PATCH)
        .build()
        .measure(model, batches)
        .values()
        .iterator()
        .next();
  }
}
