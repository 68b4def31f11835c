package org.autocircuit.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.autocircuit.data.Sentence.Pattern;
import org.autocircuit.tokenizer.Tokenizer;
import org.autocircuit.tokenizer.WordLevelVocabulary;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class IndirectObjectSentencesTest {
  private static final WordLevelVocabulary VOCABULARY = IndirectObjectSentences.vocabulary();

  private static final java.util.regex.Pattern WORD = java.util.regex.Pattern.compile("\\w+");
  private static final Set<String> NAMES = Set.copyOf(IndirectObjectSentences.names());
  private static final Set<String> SLOT_WORDS =
      Stream.of(
              SentenceParts.NAMES, SentenceParts.PLACES, SentenceParts.VERBS, SentenceParts.OBJECTS)
          .flatMap(List::stream)
          .collect(Collectors.toSet());

  @TempDir Path folder;

  private static List<String> namesIn(String text) {
    return WORD.matcher(text).results().map(MatchResult::group).filter(NAMES::contains).toList();
  }

  /** A sentence with every slot's content taken out: template, and the two names in no order. */
  private static String combination(String prompt) {
    String template =
        WORD.matcher(prompt).replaceAll(m -> SLOT_WORDS.contains(m.group()) ? "_" : m.group());
    return template + namesIn(prompt).stream().distinct().sorted().toList();
  }

  @Test
  void theLanguageIsSmallAndVaried() {
    assertThat(VOCABULARY.size()).isLessThan(600);
    assertThat(IndirectObjectSentences.names()).hasSizeGreaterThanOrEqualTo(40);
    Set<String> templates = new HashSet<>(SentenceParts.ALIGNED_TEMPLATES);
    templates.addAll(SentenceParts.OTHER_TEMPLATES);
    assertThat(templates).hasSizeGreaterThanOrEqualTo(20);
    Set<String> words = new HashSet<>();
    for (List<String> list :
        List.of(
            SentenceParts.NAMES,
            SentenceParts.PLACES,
            SentenceParts.OBJECTS,
            SentenceParts.VERBS)) {
      list.forEach(word -> assertThat(words.add(word)).as(word).isTrue());
    }
    assertThat(SentenceParts.OBJECTS).allMatch(word -> !word.matches("[aeiou].*"));
  }

  @Test
  void everySentenceIsInTheVocabularyAndFits() {
    IndirectObjectSentences sentences = new IndirectObjectSentences(11);
    Map<Pattern, Integer> counts = new EnumMap<>(Pattern.class);
    int longest = 0;
    for (int i = 0; i < 5000; i++) {
      Sentence sentence = sentences.nextTraining();
      counts.merge(sentence.pattern(), 1, Integer::sum);
      longest = Math.max(longest, 1 + VOCABULARY.ids(sentence.text()).length);
      assertThat(VOCABULARY.ids(sentence.answer())).hasSize(1);
      assertThat(sentence.prompt()).doesNotContain("[");
    }
    assertThat(longest).isEqualTo(IndirectObjectSentences.MAX_TOKENS);
    assertThat(counts).containsOnlyKeys(Pattern.values());
    assertThat(counts.get(Pattern.INDIRECT_OBJECT)).isBetween(2600, 3000);
  }

  @Test
  void theStreamIsFixedByTheSeed() {
    IndirectObjectSentences sentences = new IndirectObjectSentences(1);
    List<String> first =
        Stream.generate(sentences::nextTraining).limit(4).map(Sentence::text).toList();
    assertThat(first)
        .containsExactly(
            "After the party George and Sophie were tired, so Paula brought a snack to Sophie.",
            "Paula and Emma went to the harbor. Paula lent a camera to Emma.",
            "After Simon and Bob arrived at the store, Bob showed a pen to Simon.",
            "Wendy and Oscar had fun at the library. In the evening Oscar showed a map to Wendy.");
    IndirectObjectSentences again = new IndirectObjectSentences(1);
    assertThat(Stream.generate(again::nextTraining).limit(4).map(Sentence::text)).isEqualTo(first);
    assertThat(new IndirectObjectSentences(2).nextTraining().text()).isNotEqualTo(first.get(0));
  }

  @Test
  void theAnswerIsTheNameThatIsNotRepeated() {
    IndirectObjectSentences sentences = new IndirectObjectSentences(3);
    int subjectFirst = 0;
    for (int i = 0; i < 1000; i++) {
      Sentence sentence = sentences.next(Pattern.INDIRECT_OBJECT);
      List<String> names = namesIn(sentence.prompt());
      assertThat(names).hasSize(3);
      String subject = names.get(2);
      assertThat(names.subList(0, 2)).containsExactlyInAnyOrder(subject, sentence.answer());
      subjectFirst += names.get(0).equals(subject) ? 1 : 0;
    }
    assertThat(subjectFirst).isBetween(430, 570);
  }

  @Test
  void otherPatternsArePredictable() {
    IndirectObjectSentences sentences = new IndirectObjectSentences(4);
    for (int i = 0; i < 200; i++) {
      Sentence three = sentences.next(Pattern.THREE_NAMES);
      List<String> names = namesIn(three.prompt());
      assertThat(names).hasSize(3).doesNotHaveDuplicates();
      assertThat(names.subList(0, 2)).contains(three.answer());

      Sentence repetition = sentences.next(Pattern.REPETITION);
      List<String> words = List.of(repetition.prompt().split(" "));
      String last = words.get(words.size() - 1);
      assertThat(words.indexOf(last)).isLessThan(words.size() - 1);
      assertThat(words.get(words.indexOf(last) + 1)).isEqualTo(repetition.answer());

      Sentence greeting = sentences.next(Pattern.GREETING);
      List<String> greeted = namesIn(greeting.prompt());
      String before = greeted.get(greeted.size() - 1);
      assertThat(greeted.get(greeted.indexOf(before) + 1)).isEqualTo(greeting.answer());

      Sentence counting = sentences.next(Pattern.COUNTING);
      List<String> steps = new ArrayList<>(List.of(counting.prompt().split(" ")));
      steps.add(counting.answer());
      assertThat(SentenceParts.CYCLES)
          .anySatisfy(
              cycle -> {
                int start = cycle.indexOf(steps.get(0));
                assertThat(start).isNotNegative();
                for (int step = 0; step < steps.size(); step++) {
                  assertThat(steps.get(step)).isEqualTo(cycle.get((start + step) % cycle.size()));
                }
              });
    }
    Sentence agreement = sentences.next(Pattern.AGREEMENT);
    assertThat(SentenceParts.ACTIVITIES)
        .anySatisfy(
            activity -> {
              int noun = activity.indexOf(List.of(agreement.prompt().split(" ")).get(1));
              assertThat(activity.get(noun + 1)).isEqualTo(agreement.answer());
            });
  }

  @Test
  void heldOutCombinationsAreNeverTrainedOn() {
    IndirectObjectSentences training = new IndirectObjectSentences(5);
    Set<String> trained = new HashSet<>();
    for (int i = 0; i < 10_000; i++) {
      Sentence sentence = training.nextTraining();
      if (sentence.pattern() == Pattern.INDIRECT_OBJECT) {
        trained.add(combination(sentence.prompt()));
      }
    }
    IndirectObjectSentences test = new IndirectObjectSentences(6);
    Set<String> heldOut = new HashSet<>();
    for (int i = 0; i < 2000; i++) {
      heldOut.add(combination(test.nextHeldOut().prompt()));
    }
    test.circuitPrompts(200)
        .prompts()
        .forEach(pair -> heldOut.add(combination(pair.clean().toString())));
    assertThat(trained).hasSizeGreaterThan(3000).doesNotContainAnyElementsOf(heldOut);
    assertThat(heldOut).hasSizeGreaterThan(1000);
  }

  @Test
  void pairsAreEquallyLongAndTheCorruptOneHidesTheAnswer() {
    IndirectObjectSentences sentences = new IndirectObjectSentences(7);
    PromptDataset all = sentences.heldOutPrompts(500);
    assertThat(all.size()).isEqualTo(500);
    for (PromptPair pair : all.prompts()) {
      List<String> clean = namesIn(pair.clean().toString());
      List<String> corrupt = namesIn(pair.corrupt().toString());
      assertThat(corrupt).hasSize(3).doesNotHaveDuplicates().doesNotContainAnyElementsOf(clean);
      assertThat(pair.wrongAnswers()).containsExactly(PromptText.of(clean.get(2)));
      assertThat(clean.subList(0, 2))
          .containsExactlyInAnyOrder(
              pair.answers().get(0).toString(), pair.wrongAnswers().get(0).toString());
      assertThat(VOCABULARY.ids(pair.corrupt().toString()))
          .hasSameSizeAs(VOCABULARY.ids(pair.clean().toString()));
    }
  }

  @Test
  void circuitPromptsAreAligned() {
    PromptDataset dataset = new IndirectObjectSentences(8).circuitPrompts(300);
    assertThat(dataset.prompts()).extracting(PromptPair::clean).doesNotHaveDuplicates();
    for (PromptPair pair : dataset.prompts()) {
      List<String> words = List.of(pair.clean().toString().replace(",", " ,").split(" "));
      assertThat(words).hasSameSizeAs(dataset.seqLabels());
      assertThat(words.get(dataset.wordIdxs().get("subject")))
          .isEqualTo(pair.wrongAnswers().get(0).toString());
      assertThat(words.get(dataset.wordIdxs().get("end"))).isEqualTo("to");
      assertThat(List.of(words.get(1), words.get(3)))
          .containsExactlyInAnyOrder(
              pair.answers().get(0).toString(), pair.wrongAnswers().get(0).toString());
    }
  }

  @Test
  void theTokenizerReadsTheSameIds() {
    VOCABULARY.write(folder, true);
    IndirectObjectSentences sentences = new IndirectObjectSentences(9);
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      for (int i = 0; i < 300; i++) {
        String text = sentences.nextTraining().text();
        assertThat(tokenizer.encode(text, false)).isEqualTo(VOCABULARY.ids(text));
        assertThat(tokenizer.decode(tokenizer.encode(text, false))).isEqualTo(text);
      }
    }
  }

  @Test
  void trainingBatchesShiftTargetsByOne() {
    List<Sentence> sentences =
        List.of(
            new Sentence(Pattern.COUNTING, "one two", "three"),
            new Sentence(Pattern.COUNTING, "one two three", "four"));
    TrainingBatch batch = TrainingBatch.of(sentences, VOCABULARY);
    long[] counted = VOCABULARY.ids("one two three four .");
    assertThat(batch.tokens())
        .isEqualTo(
            new long[][] {
              {0, counted[0], counted[1], counted[2], counted[4], 0},
              {0, counted[0], counted[1], counted[2], counted[3], counted[4]},
            });
    assertThat(batch.targets())
        .isEqualTo(
            new long[][] {
              {counted[0], counted[1], counted[2], counted[4], 0, -100},
              {counted[0], counted[1], counted[2], counted[3], counted[4], 0},
            });
    assertThat(new IndirectObjectSentences(1).nextTrainingBatch(16).tokens())
        .hasDimensions(
            16, new IndirectObjectSentences(1).nextTrainingBatch(16).targets()[0].length);
    assertThatIllegalArgumentException().isThrownBy(() -> TrainingBatch.of(List.of(), VOCABULARY));
  }

  @Test
  void theBuiltInPromptsAreUpToDate() {
    PromptDataset builtIn = IndirectObjectPrompts.builtIn();
    assertThat(builtIn)
        .as("run IndirectObjectPrompts.main to rewrite the file")
        .isEqualTo(IndirectObjectPrompts.generate());
    assertThat(builtIn.size()).isEqualTo(64);
    VOCABULARY.write(folder, true);
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      PromptBatches batches = PromptBatches.of(builtIn, tokenizer, 16);
      assertThat(batches).hasSize(4).allMatch(batch -> batch.seqLength() == 15);
      assertThat(batches.seqLabels()).hasSize(15);
    }
  }

  @Test
  void theBuiltInFileIsWrittenByteForByte() throws Exception {
    Path written = folder.resolve("prompts.json");
    IndirectObjectPrompts.main(new String[] {written.toString()});
    try (var resource =
        IndirectObjectPrompts.class.getResourceAsStream(IndirectObjectPrompts.RESOURCE)) {
      assertThat(written).hasBinaryContent(resource.readAllBytes());
    }
    assertThatIllegalArgumentException()
        .isThrownBy(() -> IndirectObjectPrompts.main(new String[0]));
  }
}
