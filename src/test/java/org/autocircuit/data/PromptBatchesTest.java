package org.autocircuit.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.autocircuit.data.PromptBatches.Options;
import org.autocircuit.exception.PromptDatasetException;
import org.autocircuit.tokenizer.Tokenizer;
import org.autocircuit.tokenizer.WordLevelVocabulary;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PromptBatchesTest {
  private static final List<String> WORDS =
      List.of("zero", "one", "two", "three", "four", "five", "six", "seven", "eight");

  @TempDir Path folder;
  private Tokenizer tokenizer;

  @BeforeEach
  void load() {
    new WordLevelVocabulary(WORDS).write(folder, true);
    tokenizer = Tokenizer.load(folder);
  }

  @AfterEach
  void close() {
    tokenizer.close();
  }

  private static long id(String word) {
    return 2L + WORDS.indexOf(word);
  }

  private static PromptPair pair(String clean, String corrupt) {
    return new PromptPair(clean, corrupt, List.of("seven"), List.of("eight"));
  }

  /** Pairs of two words that differ in the first, numbered by it. */
  private static PromptDataset numbered(int count) {
    return new PromptDataset(
        IntStream.range(0, count).mapToObj(i -> pair(WORDS.get(i) + " one", "eight one")).toList());
  }

  private static List<String> cleanPrompts(PromptBatches batches) {
    List<String> prompts = new ArrayList<>();
    batches.forEach(batch -> batch.pairs().forEach(pair -> prompts.add(pair.clean().toString())));
    return prompts;
  }

  @Test
  void tokenisesPromptsAndAnswers() {
    PromptDataset dataset =
        new PromptDataset(
            List.of(
                new PromptPair("one two three", "one four three", List.of("five"), List.of()),
                new PromptPair(
                    "one two three", "one two six", List.of("six", "seven"), List.of("eight"))));
    PromptPairBatch batch = PromptBatches.of(dataset, tokenizer, 2).batches().get(0);
    assertThat(batch.clean()[0]).containsExactly(0, id("one"), id("two"), id("three"));
    assertThat(batch.corrupt()[1]).containsExactly(0, id("one"), id("two"), id("six"));
    assertThat(batch.answers())
        .isEqualTo(new long[][] {{id("five"), -1}, {id("six"), id("seven")}});
    assertThat(batch.wrongAnswers()).isEqualTo(new long[][] {{-1}, {id("eight")}});
    assertThat(batch.divergeIndex()).isEqualTo(2);
    assertThat(batch.size()).isEqualTo(2);
    assertThat(batch.seqLength()).isEqualTo(4);
    assertThat(batch.pairs()).isEqualTo(dataset.prompts());
  }

  @Test
  void aPairWithoutADifferenceDivergesAtTheStart() {
    PromptDataset dataset =
        new PromptDataset(List.of(pair("one two", "one three"), pair("one two", "one two")));
    PromptBatches batches = PromptBatches.of(dataset, tokenizer, 1);
    assertThat(batches.batches().get(0).divergeIndex()).isEqualTo(2);
    assertThat(batches.batches().get(1).divergeIndex()).isZero();
    assertThat(PromptBatches.of(dataset, tokenizer, 2).batches().get(0).divergeIndex()).isZero();
  }

  @Test
  void keepsAPartialBatchUnlessToldTo() {
    PromptBatches kept = PromptBatches.of(numbered(7), tokenizer, 3);
    assertThat(kept.batches()).extracting(PromptPairBatch::size).containsExactly(3, 3, 1);
    assertThat(kept.droppedPrompts()).isZero();
    PromptBatches dropped =
        PromptBatches.of(numbered(7), tokenizer, Options.ofSize(3).withDropPartial());
    assertThat(dropped.batches()).extracting(PromptPairBatch::size).containsExactly(3, 3);
    assertThat(dropped.droppedPrompts()).isEqualTo(1);
    assertThat(PromptBatches.of(numbered(6), tokenizer, Options.ofSize(3).withDropPartial()))
        .hasSize(2);
    assertThatIllegalArgumentException().isThrownBy(() -> Options.ofSize(0));
  }

  @Test
  void labelsAndPositionsMoveWithTheBosToken() {
    PromptDataset dataset =
        new PromptDataset(List.of("x", "y"), Map.of("end", 1), numbered(2).prompts());
    PromptBatches with = PromptBatches.of(dataset, tokenizer, 2);
    assertThat(with.seqLabels()).containsExactly("<|BOS|>", "x", "y");
    assertThat(with.wordIdxs()).containsExactly(Map.entry("end", 2));
    PromptBatches without =
        PromptBatches.of(dataset, tokenizer, Options.ofSize(2).withPrependBos(false));
    assertThat(without.seqLabels()).containsExactly("x", "y");
    assertThat(without.wordIdxs()).containsExactly(Map.entry("end", 1));
    assertThat(without.batches().get(0).clean()[0]).containsExactly(id("zero"), id("one"));
    assertThat(PromptBatches.of(numbered(2), tokenizer, 2).seqLabels()).isEmpty();
  }

  @Test
  void unequalLengthsNameBothPrompts() {
    PromptDataset within = new PromptDataset(List.of(pair("one two", "one")));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> PromptBatches.of(within, tokenizer, 1))
        .withMessage(
            "prompts[0].corrupt has 2 tokens, clean has 3: ['<|endoftext|>', 'one']; clean:"
                + " ['<|endoftext|>', 'one', 'two']");
    PromptDataset between =
        new PromptDataset(
            List.of(),
            Map.of(),
            List.of(pair("one two", "one six"), pair("three", "four"), pair("one", "two")),
            "a.json");
    String first = ".clean has 2 tokens, prompts[0].clean has 3; ";
    assertThatExceptionOfType(PromptDatasetException.class)
        .isThrownBy(() -> PromptBatches.of(between, tokenizer, 2))
        .withMessage(
            "a.json: prompts[1]" + first + "without padding those of a batch need one length");
    assertThatExceptionOfType(PromptDatasetException.class)
        .isThrownBy(() -> PromptTokens.of(between, tokenizer).oneLength())
        .withMessageContainingAll(
            "a.json: 2 problems",
            "prompts[1]" + first + "scores per position need prompts of one length",
            "prompts[2]" + first);
    assertThat(PromptBatches.of(between, tokenizer, 1)).hasSize(3);
  }

  @Test
  void groupsByLength() {
    PromptDataset mixed =
        new PromptDataset(
            List.of(
                pair("one two", "one six"),
                pair("three", "four"),
                pair("five six", "one six"),
                pair("four", "three"),
                pair("two two", "one six")));
    PromptBatches batches =
        PromptBatches.of(mixed, tokenizer, Options.ofSize(2).withGroupByLength());
    assertThat(cleanPrompts(batches))
        .containsExactly("one two", "five six", "two two", "three", "four");
    assertThat(batches.batches()).extracting(PromptPairBatch::size).containsExactly(2, 1, 2);
    assertThat(
            PromptBatches.of(
                    mixed, tokenizer, Options.ofSize(2).withGroupByLength().withDropPartial())
                .droppedPrompts())
        .isEqualTo(1);
  }

  @Test
  void pairsOfDifferentLengthsShareABatchIfTheyMayBePadded() {
    PromptDataset mixed =
        new PromptDataset(
            List.of(pair("one", "four"), pair("one two three", "one two six"), pair("two", "six")));
    Options options = Options.ofSize(2).withPadding();
    List<PromptPairBatch> batches = PromptBatches.of(mixed, tokenizer, options).batches();
    assertThat(batches).hasSize(2);
    PromptPairBatch batch = batches.get(0);
    assertThat(batch.clean()[0]).containsExactly(0, id("one"));
    assertThat(batch.clean()[1]).containsExactly(0, id("one"), id("two"), id("three"));
    assertThat(batch.corrupt()[0]).containsExactly(0, id("four"));
    assertThat(batch.seqLength()).isEqualTo(4);
    // Behind two positions of padding the first pair differs at its second token.
    assertThat(batch.divergeIndex()).isEqualTo(3);
    assertThat(batches.get(1).seqLength()).isEqualTo(2);
    PromptDataset within = new PromptDataset(List.of(pair("one two", "one")));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> PromptBatches.of(within, tokenizer, options))
        .withMessageContaining("prompts[0].corrupt has 2 tokens, clean has 3");
  }

  @Test
  void shufflesAsPythonDoes() {
    PromptBatches shuffled =
        PromptBatches.of(numbered(5), tokenizer, Options.ofSize(2).withShuffle(7));
    assertThat(cleanPrompts(shuffled))
        .containsExactly("four one", "zero one", "three one", "one one", "two one");
  }

  @Test
  void keysAreTheSameInEveryProcess() {
    List<PromptPairBatch> batches = PromptBatches.of(numbered(4), tokenizer, 2).batches();
    assertThat(batches.get(0).key()).isEqualTo("ed7ee0e217573c3c").hasSize(16);
    assertThat(batches.get(1).key()).isNotEqualTo(batches.get(0).key());
    assertThat(PromptBatches.of(numbered(4), tokenizer, 2).batches().get(0).key())
        .isEqualTo(batches.get(0).key());
    assertThat(batches.get(0))
        .hasToString("PromptPairBatch[%s, 2 x 3]".formatted(batches.get(0).key()));
  }

  @Test
  void answersMustBeSingleTokens() {
    PromptDataset two =
        new PromptDataset(List.of(new PromptPair("one", "two", List.of("six seven"), List.of())));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> PromptBatches.of(two, tokenizer, 1))
        .withMessageContaining("prompts[0].answers[0]")
        .withMessageContaining("['six', 'seven']");
    PromptDataset unknown =
        new PromptDataset(List.of(new PromptPair("one", "two", List.of("six"), List.of("nine"))));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> PromptBatches.of(unknown, tokenizer, 1))
        .withMessage("prompts[0].wrong_answers[0]: \" nine\" is not in the vocabulary");
  }

  @Test
  void batchesThatAreJoinedKeepTheirPairs() {
    PromptPair pair = new PromptPair("a", "b", List.of("c"), List.of("d"));
    PromptPairBatch one =
        new PromptPairBatch(
            List.of(pair),
            new long[][] {{1, 2, 3}},
            new long[][] {{1, 4, 3}},
            new long[][] {{5}},
            new long[][] {{6, 7}});
    PromptPairBatch two =
        new PromptPairBatch(
            List.of(pair),
            new long[][] {{1, 2}},
            new long[][] {{1, 3}},
            new long[][] {{5, 8}},
            new long[][] {{6}});
    PromptPairBatch joined = PromptPairBatch.join(List.of(one, two));
    assertThat(joined.pairs()).containsExactly(pair, pair);
    assertThat(joined.clean()).isDeepEqualTo(new long[][] {{1, 2, 3}, {1, 2}});
    assertThat(joined.corrupt()).isDeepEqualTo(new long[][] {{1, 4, 3}, {1, 3}});
    assertThat(joined.answers()).isDeepEqualTo(new long[][] {{5, -1}, {5, 8}});
    assertThat(joined.wrongAnswers()).isDeepEqualTo(new long[][] {{6, 7}, {6, -1}});
    assertThat(joined.divergeIndex()).isEqualTo(1);
    assertThat(PromptPairBatch.join(List.of(two))).isSameAs(two);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> PromptPairBatch.join(List.of()))
        .withMessageContaining("at least one");
  }

  @Test
  void batchesOfTokensCheckTheirRows() {
    List<PromptPair> pairs = List.of(pair("a", "b"));
    long[][] one = {{1}};
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new PromptPairBatch(pairs, one, one, one, new long[0][]))
        .withMessageContaining("one row per pair");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new PromptPairBatch(List.of(), one, one, one, one));
  }
}
