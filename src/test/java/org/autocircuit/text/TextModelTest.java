package org.autocircuit.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.logging.Level;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.autocircuit.LogRecords;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.data.PromptBatches;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.Logits;
import org.autocircuit.exception.AnswerException;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.generate.FinishReason;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationRequest;
import org.autocircuit.generate.Generator;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Model;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.tokenizer.Tokenizer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TextModelTest {

  private static final String CLEAN = "When Mary and John went to the store, John gave a drink to";
  private static final String CORRUPT =
      "When Mary and John went to the store, Mary gave a drink to";
  private static final List<String> EDGES = List.of("A3.0->Resid End", "MLP 0->A3.4.V");

  @TempDir private Path folder;

  @Test
  void answersEndAtTheTokensThatTheModelsFilesName() {
    try (TextModel model = ExampleModel.open();
        Generator generator = model.generator().build();
        Generation answer = generator.submit(GenerationRequest.of(model.tokens(CLEAN)))) {
      List<String> tokens = new ArrayList<>();
      answer.forEach(token -> tokens.add(model.tokenizer().show(token.id())));
      assertThat(tokens).containsExactly("'Mary'", "'.'", "'<|endoftext|>'");
      assertThat(answer.finishReason()).contains(FinishReason.STOP_TOKEN);
    }
  }

  @Test
  void hookPointsWithoutAValueForEachTokenAreNotReadWhileGenerating() {
    try (TextModel model = ExampleModel.open();
        Generator generator = model.generator().build()) {
      GenerationRequest request = GenerationRequest.of(model.tokens(CLEAN));
      assertThatThrownBy(
              () -> generator.submit(request.withReads("blocks.0.attn.hook_pattern")).close())
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("ForwardRequest.withReads");
      generator.submit(request.withReads("blocks.0.attn.hook_z")).result().join();
    }
  }

  @Test
  void theTopTokensAreThoseOfTheModel() {
    try (TextModel model = ExampleModel.open()) {
      long[][] tokens = {model.tokenizer().encode(CLEAN)};
      assertThat(model.tokens(CLEAN)).containsExactly(tokens[0]);
      Logits logits = Logits.of(model.model().logits(tokens, PatchContext.NONE));
      List<NextToken> top = model.top(CLEAN, 3);
      assertThat(top).extracting(NextToken::spelling).first().isEqualTo("'Mary'");
      assertThat(top.stream().mapToInt(token -> (int) token.id()).toArray())
          .containsExactly(logits.topTokens(0, 3));
      NextToken first = top.get(0);
      assertThat(first.logit()).isEqualTo(logits.get(0, (int) first.id()));
      assertThat(first.probability()).isEqualTo(logits.probabilities(0)[(int) first.id()]);
      assertThat(first).hasToString("'Mary' 99.41 %");
      assertThat(NextTokens.of(logits, 0, model.tokenizer()).top(3)).isEqualTo(top);
    }
  }

  @Test
  void whatWasComputedStaysReadable() {
    NextTokens next;
    try (TextModel model = ExampleModel.open()) {
      next = model.next(CLEAN);
    }
    assertThat(next.top(1)).extracting(NextToken::spelling).containsExactly("'Mary'");
    assertThat(next.top(1)).extracting(NextToken::text).containsExactly("Mary");
    int all = next.top(Integer.MAX_VALUE).size();
    assertThatThrownBy(() -> next.get(all)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> next.get(-1)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> next.top(0))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("top: expected 1 token or more, got 0");
  }

  @Test
  void patchesAsTheModelDoes() {
    try (TextModel model = ExampleModel.open()) {
      Patched patched = model.patch(CLEAN, CORRUPT, EDGES);
      long answer = model.answer(CLEAN, "Mary");
      assertThat(patched.clean().get(answer)).isEqualTo(model.top(CLEAN, 1).get(0));
      long[][] corrupt = {model.tokens(CORRUPT)};
      try (SourceActivations activations =
          model.model().sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
        Masks masks = Masks.ofNames(model.graph(), EDGES);
        float[][] logits =
            model
                .model()
                .logits(new long[][] {model.tokens(CLEAN)}, PatchContext.of(activations, masks));
        assertThat(patched.patched().get(answer).logit())
            .isEqualTo((double) logits[0][(int) answer])
            .isLessThan(patched.clean().get(answer).logit());
      }
    }
  }

  @Test
  void saysWhatIsWrong() {
    try (TextModel model = ExampleModel.open()) {
      assertRefused(
          () -> model.top("Mary ".repeat(40), 1), "prompt has 41 tokens, the model takes 1 to 32");
      assertRefused(
          () -> model.patch(CLEAN, "When Mary", EDGES), "corrupt has 3 tokens, clean has 15: [");
      assertRefused(
          () -> model.patch(CLEAN, CORRUPT, List.of("A3.0->Resid Ent")),
          "did you mean 'A3.0->Resid End'?");
      assertThatThrownBy(() -> model.answer(CLEAN, "Paris"))
          .isInstanceOf(AnswerException.class)
          .hasMessage("\" Paris\" is not in the vocabulary");
      assertThatThrownBy(() -> model.answer(CLEAN, ""))
          .isInstanceOf(AnswerException.class)
          .hasMessageStartingWith("\"\" is 0 tokens after the prompt");
      assertRefused(
          () -> model.patch(CLEAN, CORRUPT, List.of("A3.0->Resid End@14")),
          "TextModel.perPosition(prompts)");
      assertThatThrownBy(() -> model.top(null, 1))
          .isInstanceOf(NullPointerException.class)
          .hasMessage("prompt");
    }
    assertThatThrownBy(() -> TextModel.open(folder.resolve("gpt2")))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("no such folder or file; nothing is downloaded");
  }

  @Test
  void whatIsProbablyNotMeantIsLoggedOnce() {
    try (TextModel model = ExampleModel.open();
        LogRecords log = new LogRecords("org.autocircuit.text")) {
      model.top(CLEAN, 1);
      log.assertNone();
      model.top("The capital of France is", 1);
      model.top("Paris", 1);
      log.assertOne(Level.WARNING, "not in the vocabulary", "\"capital\", \"of\"");
      assertThat(model.warnings("Paris")).hasSize(1);
      assertThat(model.warnings(CLEAN)).isEmpty();
      assertThat(model.warnings(""))
          .containsExactly(
              "prompt is empty: the answer follows the beginning-of-sequence token alone");
    }
  }

  @Test
  void closesModelAndTokenizer() {
    TextModel model = ExampleModel.open();
    assertThat(model).hasToString("TextModel (PatchableModel of Model indirect-object)");
    model.close();
    model.close();
    assertThat(model.model().isClosed()).isTrue();
    assertClosed(() -> model.tokenizer().encode(CLEAN));
    assertClosed(() -> model.top(CLEAN, 1));
    assertClosed(() -> model.patch(CLEAN, CORRUPT, EDGES));
    assertClosed(() -> model.tokens(CLEAN));
  }

  @Test
  void discoversAsTheCommandDoes() {
    PromptDataset prompts = ExampleModel.prompts().slice(0, 8);
    try (TextModel model = ExampleModel.open()) {
      List<PromptPairBatch> batches = PromptBatches.of(prompts, model.tokenizer(), 32).batches();
      PruneScores expected = MaskGradient.builder().build().pruneScores(model.model(), batches);
      assertThat(model.discover(prompts)).isEqualTo(expected);
      assertThat(model.discover(prompts.prompts())).isEqualTo(expected);
      List<PromptPair> withoutWrong =
          prompts.prompts().stream()
              .map(pair -> new PromptPair(pair.clean(), pair.corrupt(), pair.answers(), List.of()))
              .toList();
      List<PromptPairBatch> plain =
          PromptBatches.of(new PromptDataset(withoutWrong), model.tokenizer(), 32).batches();
      assertThat(model.discover(withoutWrong))
          .isEqualTo(
              MaskGradient.builder()
                  .answerFunction(AnswerFunction.AVG_VAL)
                  .build()
                  .pruneScores(model.model(), plain));
      assertRefused(
          () -> model.discover(List.of(new PromptPair(CLEAN, CLEAN, List.of("Mary"), List.of()))),
          "nothing to find");
    }
  }

  @Test
  void aCircuitRunsAlone() {
    try (TextModel model = ExampleModel.open()) {
      EdgeSet all = EdgeSet.all(model.graph());
      Patched whole = model.run(Circuit.of(all), CLEAN, CORRUPT);
      assertThat(whole.patched().top(3)).isEqualTo(whole.clean().top(3));
      Patched nothing = model.run(Circuit.of(all.complement()), CLEAN, CORRUPT);
      assertThat(nothing.patched().top(1).get(0).spelling())
          .isEqualTo(model.top(CORRUPT, 1).get(0).spelling());
      PromptDataset prompts = ExampleModel.prompts().slice(0, 8);
      assertThat(model.measure(Circuit.of(all), prompts).accuracy())
          .isEqualTo(model.measure(prompts).accuracy());
      assertThat(model.measure(Circuit.of(all.complement()), prompts).accuracy()).isZero();
      try (TextModel joint =
          model.withOptions(PatchableModelOptions.defaults().withSeparateQkv(false))) {
        Circuit other = Circuit.of(EdgeSet.all(joint.graph()));
        for (ThrowingCallable call :
            List.<ThrowingCallable>of(
                () -> model.run(other, CLEAN, CORRUPT), () -> model.measure(other, prompts))) {
          assertRefused(call, "circuit: expected one of a", "with the same options");
        }
      }
      Circuit means = Circuit.of(all).withAblation(DatasetAblation.TOKENWISE_MEAN_CORRUPT);
      assertRefused(() -> model.run(means, CLEAN, CORRUPT), "mean over a data set");
      assertThat(model.measure(means, prompts).klDivergence()).isLessThan(1e-6);
    }
  }

  @Test
  void modelsThatShareWeightsAreClosedInAnyOrder() {
    for (boolean first : new boolean[] {true, false}) {
      TextModel whole = ExampleModel.open();
      TextModel positions = whole.perPosition(ExampleModel.prompts());
      assertThat(positions.graph().seqLen()).hasValue(15);
      List<NextToken> expected = whole.top(CLEAN, 3);
      (first ? whole : positions).close();
      (first ? whole : positions).close();
      TextModel open = first ? positions : whole;
      assertThat(open.top(CLEAN, 3)).isEqualTo(expected);
      open.close();
      assertClosed(() -> whole.tokenizer().encode(CLEAN));
    }
  }

  @Test
  void readsActivationsAsFloats() {
    try (TextModel model = ExampleModel.open()) {
      Map<String, ActivationValues> read =
          model.activations(CLEAN, "hook_embed", "blocks.0.attn.hook_pattern");
      assertThat(read).containsOnlyKeys("hook_embed", "blocks.0.attn.hook_pattern");
      ActivationValues pattern = read.get("blocks.0.attn.hook_pattern");
      assertThat(pattern.shape()).containsExactly(1, 8, 15, 15);
      assertThat(pattern.toArray()).hasSize(8 * 15 * 15);
      assertThat(pattern.get(0, 7, 0, 0)).isEqualTo(1);
      float sum = 0;
      for (int from = 0; from < 15; from++) {
        sum += pattern.get(0, 3, 14, from);
        assertThat(pattern.get(0, 3, 14, from))
            .isEqualTo(pattern.toArray()[(3 * 15 + 14) * 15 + from]);
      }
      assertThat(sum).isCloseTo(1, within(1e-5f));
      assertRefused(() -> pattern.get(0, 1), "one for each dimension of [1, 8, 15, 15]");
      assertThatThrownBy(() -> pattern.get(0, 8, 0, 0))
          .isInstanceOf(IndexOutOfBoundsException.class);
      assertRefused(
          () -> model.activations(CLEAN, "blocks.0.attn.hook_patern"),
          "unknown hook point",
          "did you mean 'blocks.0.attn.hook_pattern'?");
      assertThat(model.activations(CLEAN, "hook_embed", "hook_embed")).hasSize(1);
    }
  }

  @Test
  void callsThatRunFinishWhenItIsClosed() {
    TextModel model = ExampleModel.open();
    List<NextToken> clean = model.top(CLEAN, 3);
    List<NextToken> patched = model.patch(CLEAN, CORRUPT, EDGES).patched().top(3);
    CountDownLatch running = new CountDownLatch(8);
    List<CompletableFuture<Integer>> threads = new ArrayList<>();
    for (int i = 0; i < 8; i++) {
      threads.add(
          CompletableFuture.supplyAsync(
              () -> {
                int calls = 0;
                try {
                  while (true) {
                    assertThat(model.top(CLEAN, 3)).isEqualTo(clean);
                    assertThat(model.patch(CLEAN, CORRUPT, EDGES).patched().top(3))
                        .isEqualTo(patched);
                    if (calls++ == 0) {
                      running.countDown(); // once for each thread
                    }
                  }
                } catch (IllegalStateException e) {
                  assertThat(e).hasMessage(model + " is closed");
                  return calls;
                }
              },
              task -> new Thread(task).start()));
    }
    assertThatCode(running::await).doesNotThrowAnyException();
    model.close();
    threads.forEach(thread -> assertThat(thread.join()).isPositive());
    assertClosed(() -> model.tokenizer().encode(CLEAN));
  }

  @Test
  void takesNoModelWithoutTokens() {
    try (PointerScope scope = new PointerScope();
        Model micro =
            Model.of(new MicroModelConfig(1), Map.of("blocks.0.weights", torch.ones(2, 2)));
        PatchableModel model = PatchableModel.of(micro, PatchableModelOptions.defaults());
        ExampleFolder example = ExampleFolder.unpack();
        Tokenizer tokenizer = Tokenizer.load(example.path())) {
      assertRefused(() -> TextModel.of(model, tokenizer), "expected one that takes tokens");
      assertThat(model.isClosed()).isFalse();
      assertThat(tokenizer.encode(CLEAN)).hasSize(15);
    }
  }

  @Test
  void theExamplesFilesAreGoneWhenTheyAreClosed() {
    Path unpacked;
    try (ExampleFolder example = ExampleFolder.unpack()) {
      unpacked = example.path();
      assertThat(unpacked.resolve("model.safetensors")).isNotEmptyFile();
      assertThat(unpacked.resolve("tokenizer_config.json")).isNotEmptyFile();
    }
    assertThat(unpacked).doesNotExist();
    assertThat(unpacked.getParent()).doesNotExist();
  }

  @Test
  void anInterruptEndsOpening() {
    Thread.currentThread().interrupt();
    try {
      assertThatThrownBy(ExampleModel::open)
          .isInstanceOf(StoppedException.class)
          .hasMessage("stopped: the thread was interrupted");
    } finally {
      assertThat(Thread.interrupted()).isTrue();
    }
  }

  @Test
  void theExamplesPromptsFitIt() {
    PromptPair pair = ExampleModel.prompts().prompts().get(0);
    try (TextModel model = ExampleModel.open()) {
      String clean = pair.clean().toString();
      long answer = model.answer(clean, pair.answers().get(0).toString());
      assertThat(model.top(clean, 1).get(0).id()).isEqualTo(answer);
    }
  }

  private static void assertClosed(ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("closed");
  }

  private static void assertRefused(ThrowingCallable call, String... words) {
    assertThatThrownBy(call)
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContainingAll(words);
  }
}
