package org.autocircuit.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.logging.Level;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.autocircuit.LogRecords;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.data.PromptPair;
import org.autocircuit.eval.Logits;
import org.autocircuit.model.AnswerException;
import org.autocircuit.model.CheckpointException;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.Tokenizer;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
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
          model.model().sourceAblations(corrupt, AblationType.RESAMPLE)) {
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
