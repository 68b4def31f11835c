package org.autocircuit.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.autocircuit.SentencePieceTokenizer;
import org.autocircuit.exception.PromptDatasetException;
import org.autocircuit.tokenizer.Tokenizer;
import org.autocircuit.tokenizer.WordLevelVocabulary;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** An answer is the token that continues its prompts; what is wrong is said with its place. */
class PromptTokensTest {

  @TempDir Path folder;
  private Tokenizer pieces;
  private Tokenizer words;

  @BeforeEach
  void load() throws IOException {
    SentencePieceTokenizer.write(folder.resolve("pieces"));
    pieces = Tokenizer.load(folder.resolve("pieces"));
    new WordLevelVocabulary(List.of("Mary", "John", "gave", "to", "and", ","))
        .write(folder.resolve("words"), true);
    words = Tokenizer.load(folder.resolve("words"));
  }

  @AfterEach
  void close() {
    pieces.close();
    words.close();
  }

  private PromptDataset read(String prompts) throws IOException {
    Path file = folder.resolve("prompts.json");
    Files.writeString(file, "{\"prompts\": [" + prompts.replace('`', '"') + "]}");
    return PromptDataset.read(file);
  }

  private static String pair(String clean, String corrupt, String answers, String wrong) {
    return "{`clean`: %s, `corrupt`: %s, `answers`: [%s], `wrong_answers`: [%s]}"
        .formatted(clean, corrupt, answers, wrong);
  }

  private PromptTokens tokens(Tokenizer tokenizer, String... pairs) throws IOException {
    return PromptTokens.of(read(String.join(",", pairs)), tokenizer);
  }

  private static PromptPairBatch batch(PromptTokens tokens) {
    return tokens.batches(0, tokens.size(), PromptBatches.Options.ofSize(8)).batches().get(0);
  }

  private long id(String spelling) {
    return pieces.id(spelling).orElseThrow();
  }

  @Test
  void anAnswerContinuesItsPrompt() throws IOException {
    String[] answers = {"`s`", "`.`", "`,`", "`ing`", "`5`", "`\\n`", "` s`"};
    long[] expected = {
      id("s"), id("."), id(","), id("ing"), id("5"), id("<0x0A>"), id("▁s"),
    };
    for (int i = 0; i < answers.length; i++) {
      PromptTokens tokens = tokens(pieces, pair("`Lily'`", "`Lily,`", answers[i], ""));
      PromptPairBatch batch = batch(tokens);
      assertThat(batch.answers()[0]).as(answers[i]).containsExactly(expected[i]);
      // Prompts begin with <s>, answers do not.
      assertThat(batch.clean()[0][0]).isEqualTo(1);
      assertThat(tokens.warnings()).isEmpty();
    }
  }

  @Test
  void bothSpellingsOfAWordWorkOrTheMessageSaysWhich() throws IOException {
    String spaced = pair("`to Lil.`", "`to Til.`", "` She`", "` He`");
    String bare = pair("`to Lil.`", "`to Til.`", "`She`", "`He`");
    for (String pair : List.of(spaced, bare)) {
      PromptPairBatch batch = batch(tokens(pieces, pair));
      assertThat(batch.answers()[0]).containsExactly(id("▁She"));
      assertThat(batch.wrongAnswers()[0]).containsExactly(id("▁He"));
    }
    assertThat(tokens(pieces, spaced).warnings()).isEmpty();
    assertThat(tokens(pieces, bare).warnings())
        .contains(
            "prompts[0].answers[0]: \"She\" is 2 tokens after the prompt, expected one: ['S',"
                + " 'he']; it is read as \" She\", '▁She'");
    // Here the answer would merge with the prompt's last token.
    assertRefused(pieces, pair("`to t`", "`so t`", "`o`", ""))
        .hasMessageContaining("prompts[0].answers[0]: \"o\" changes the prompt's own tokens from")
        .hasMessageContaining("['▁to', '▁t'] to ['▁to', '▁to']");
  }

  @Test
  void wholeWordsTakeEitherSpelling() throws IOException {
    PromptTokens tokens =
        tokens(
            words, pair("`Mary and John gave to`", "`Mary and Mary gave to`", "`Mary`", "` John`"));
    assertThat(batch(tokens).answers()[0]).containsExactly(2);
    assertThat(batch(tokens).wrongAnswers()[0]).containsExactly(3);
    assertThat(tokens.warnings()).isEmpty();
    assertThat(tokens.otherSpellings()).isEmpty();
  }

  @Test
  void theAnswerIsTheSameTokenAfterBothPrompts() throws IOException {
    // Within a word a subword of this kind is another token than at its beginning.
    Path subwords = Files.createDirectory(folder.resolve("subwords"));
    Files.writeString(
        subwords.resolve("tokenizer.json"),
        """
        {"version":"1.0","normalizer":null,"pre_tokenizer":{"type":"BertPreTokenizer"},
         "post_processor":null,"decoder":{"type":"WordPiece","prefix":"##","cleanup":true},
         "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
          "max_input_chars_per_word":100,
          "vocab":{"[UNK]":0,"play":1,"##s":2,"s":3,",":4,"to":5,"a":6}}}
        """);
    try (Tokenizer tokenizer = Tokenizer.load(subwords)) {
      assertRefused(
              tokenizer, pair("`play`", "`,`", "`s`", ""), pair("`play`", "`,`", "`a`", "`s`"))
          .hasMessageContaining(
              "prompts[0].answers[0]: \"s\" is '##s' after clean, but 's' after corrupt")
          .hasMessageContaining("prompts[1].wrong_answers[0]: \"s\" is '##s' after clean");
    }
  }

  @Test
  void anAnswerLeavesBothPromptsAsTheyAre() throws IOException {
    assertRefused(pieces, pair("`a t`", "`a s`", "`s`", "`o`"))
        .hasMessageContaining("prompts[0].wrong_answers[0]: \"o\" changes the prompt's own tokens");
    assertRefused(pieces, pair("`a s`", "`a t`", "`s`", "`o`"))
        .hasMessageContaining("prompts[0].wrong_answers[0]: \"o\" changes the prompt's own tokens");
  }

  @Test
  void idsAndSpellingsAreTakenAsTheyAre() throws IOException {
    long bos = 1;
    String ids = "[%s, %s]".formatted(bos, id("▁to"));
    String other = "[[%s, %s]]".formatted(bos, id("▁a"));
    PromptTokens tokens = tokens(pieces, pair(ids, other, id("s") + ", {`token`: `▁s`}", "` He`"));
    PromptPairBatch batch = batch(tokens);
    assertThat(batch.clean()[0]).containsExactly(bos, id("▁to"));
    assertThat(batch.corrupt()[0]).containsExactly(bos, id("▁a"));
    assertThat(batch.answers()[0]).containsExactly(id("s"), id("▁s"));
    assertThat(batch.wrongAnswers()[0]).containsExactly(id("▁He"));
    assertRefused(pieces, pair("[1, 99999]", "[1, 3]", "{`token`: `▁zz`}", ""))
        .hasMessageContaining("prompts[0].clean: the vocabulary has no token 99999");
    assertRefused(pieces, pair("`a`", "`s`", "{`token`: `▁zz`}, 5000", ""))
        .hasMessageContaining("prompts[0].answers[0]: the vocabulary has no token that is spelled")
        .hasMessageContaining("prompts[0].answers[1]: the vocabulary has no token 5000");
  }

  @Test
  void idsAndSpellingsAreWrittenAndReadBack() throws IOException {
    PromptDataset dataset = read(pair("[1, 7]", "[1, 8]", "9, {`token`: `▁s`}, ` x`", "10"));
    Path written = folder.resolve("written.json");
    dataset.write(written);
    assertThat(PromptDataset.read(written)).isEqualTo(dataset);
    assertThat(dataset.source()).isEqualTo(folder.resolve("prompts.json").toString());
    assertThat(dataset.slice(0, 1).source()).isEqualTo(dataset.source());
  }

  @Test
  void allProblemsAreNamedAtOnceWithFileAndPlace() throws IOException {
    assertRefused(
            words,
            pair("`Mary gave`", "`John gave to`", "`John`", ""),
            pair("`Mary gave`", "`John gave`", "`Bob`", "`John and`"),
            pair("`Mary gave`", "`John gave`", "`John`", "` John`"))
        .hasMessageStartingWith(folder.resolve("prompts.json") + ": 4 problems\n")
        .hasMessageContaining("prompts[0].corrupt has 4 tokens, clean has 3")
        .hasMessageContaining("['<|endoftext|>', 'John', 'gave', 'to']; clean: ['<|endoftext|>',")
        .hasMessageContaining("prompts[1].answers[0]: \" Bob\" is not in the vocabulary")
        .hasMessageContaining("prompts[1].wrong_answers[0]: \" John and\" is 2 tokens")
        .hasMessageContaining(
            "prompts[2].wrong_answers[0] \" John\" is the same token as answers[0] \"John\":"
                + " 'John'");
  }

  @Test
  void problemsOfTheFilesFormAreNamedAtOnce() {
    assertThatThrownBy(() -> read("{`clean`: 7, `answers`: [`a`]}, 8"))
        .isInstanceOf(PromptDatasetException.class)
        .hasMessageContaining("4 problems")
        .hasMessageContaining("prompts[0].clean is 7")
        .hasMessageContaining("prompts[0].corrupt is missing")
        .hasMessageContaining("prompts[0].wrong_answers is missing")
        .hasMessageContaining("prompts[1] is 8");
  }

  @Test
  void unknownWordsSpecialTokensAndSpacesAtTheEndAreSaid() throws IOException {
    assertThat(
            tokens(
                    words,
                    pair("`Mary gave Zoë and Bob to`", "`Mary gave to and to to`", "`John`", ""))
                .warnings())
        .containsExactly(
            "prompts[0].clean: not in the vocabulary, the model reads <|unk|>: \"Zoë\", \"Bob\"");
    assertThat(tokens(pieces, pair("`<s>to`", "`<s>a`", "` s`", "")).warnings())
        .contains(
            "prompts[0].clean spells the special token '<s>', which prompts begin with anyway: the"
                + " model reads it twice");
    assertThat(tokens(pieces, pair("`to `", "`a `", "` s`", "")).warnings())
        .contains(
            "prompts[0].clean ends in a space, so its last token is '▁'; answers usually bring the"
                + " space themselves");
    assertThat(tokens(words, pair("`Mary `", "`John `", "`to`", "")).warnings()).isEmpty();
  }

  @Test
  void aCorruptPromptThatIsTheCleanOneIsSaid() throws IOException {
    PromptTokens same = tokens(words, pair("`Mary to`", "`Mary to`", "`John`", ""));
    assertThat(same.warnings())
        .containsExactly("prompts[0].corrupt has the tokens of clean: patching changes nothing");
    assertThatThrownBy(() -> same.check(10))
        .hasMessageContaining("prompts[0].corrupt has the tokens of clean, and so in all prompts");
  }

  @Test
  void longPromptsAndMixedWrongAnswersAreNamed() throws IOException {
    PromptTokens mixed =
        tokens(
            words,
            pair("`Mary to`", "`John to`", "`John`", "`Mary`"),
            pair("`Mary and to`", "`John and to`", "`John`", ""));
    assertThatThrownBy(() -> mixed.check(3))
        .isInstanceOf(PromptDatasetException.class)
        .hasMessageContaining("prompts[1].clean has 4 tokens, the model takes at most 3")
        .hasMessageContaining("prompts[1].wrong_answers is empty while others have some");
  }

  @Test
  void otherSpellingsOfAnswersAreKnown() throws IOException {
    PromptTokens tokens = tokens(pieces, pair("`Lily'`", "`Lily,`", "`s`", ""));
    assertThat(tokens.otherSpellings())
        .containsExactly(
            new PromptTokens.OtherSpelling(0, "prompts[0].answers[0]", " s", id("s"), id("▁s")));
  }

  @Test
  void labelsThatDoNotFitAreSaid() throws IOException {
    Path file = folder.resolve("labels.json");
    String pair = pair("`Mary to`", "`John to`", "`John`", "").replace('`', '"');
    Files.writeString(
        file,
        "{\"seq_labels\": [\"a\"], \"word_idxs\": {\"end\": 2}, \"prompts\": [" + pair + "]}");
    assertThat(PromptTokens.of(PromptDataset.read(file), words).warnings())
        .containsExactly(
            "seq_labels has 1 label, prompts[0].clean 2 tokens",
            "word_idxs.end is 2, prompts[0].clean has 2 tokens");
  }

  private org.assertj.core.api.AbstractThrowableAssert<?, ? extends Throwable> assertRefused(
      Tokenizer tokenizer, String... pairs) {
    return assertThatThrownBy(() -> tokens(tokenizer, pairs))
        .isInstanceOf(PromptDatasetException.class)
        .hasMessageContaining("prompts.json: ");
  }
}
