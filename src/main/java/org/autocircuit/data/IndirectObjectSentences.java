package org.autocircuit.data;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.autocircuit.data.Sentence.Pattern;
import org.autocircuit.internal.SplitMix64;
import org.autocircuit.tokenizer.WordLevelVocabulary;

/**
 * A small language to train a model on, made for circuit discovery: sentences whose indirect object
 * can be told from the names before it, mixed with other predictable patterns (see {@link
 * Pattern}).
 *
 * <p>Of all combinations of a template and a pair of names one in eight is held out: {@link
 * #nextTraining()} never shows an indirect-object sentence of such a combination, in neither order
 * and with neither name as subject, and {@link #nextHeldOut()} and the prompt pairs show no other.
 * The split does not depend on the seed.
 *
 * <p>The stream of sentences is fixed by the seed, on every platform. An instance is for one
 * thread.
 *
 * <pre>{@code
 * IndirectObjectSentences sentences = new IndirectObjectSentences(1);
 * TrainingBatch batch = sentences.nextTrainingBatch(64);
 * PromptDataset test = sentences.heldOutPrompts(500);
 * }</pre>
 */
public final class IndirectObjectSentences {

  /** Tokens of the longest sentence with its beginning-of-sequence token: what a model must fit. */
  public static final int MAX_TOKENS = 25;

  private static final int HELD_OUT_ONE_IN = 8;

  private static final List<String> TEMPLATES =
      Stream.concat(
              SentenceParts.ALIGNED_TEMPLATES.stream(), SentenceParts.OTHER_TEMPLATES.stream())
          .toList();

  private static final WordLevelVocabulary VOCABULARY = new WordLevelVocabulary(allWords());

  private final SplitMix64 random;

  /** A stream of sentences. */
  public IndirectObjectSentences(long seed) {
    random = new SplitMix64(seed);
  }

  /** Every word that any sentence can have; the same for all seeds. */
  public static WordLevelVocabulary vocabulary() {
    return VOCABULARY;
  }

  /** The names of the language's people. */
  public static List<String> names() {
    return SentenceParts.NAMES;
  }

  /**
   * The next sentence to learn from: patterns in fixed proportions, more than half of them names.
   */
  public Sentence nextTraining() {
    int share = random.below(100);
    if (share < 56) {
      return indirectObject(false);
    } else if (share < 62) {
      return threeNames();
    } else if (share < 71) {
      return agreement();
    } else if (share < 83) {
      return repetition();
    } else if (share < 91) {
      return greeting();
    }
    return counting();
  }

  /** The next sentences to learn from, as tokens. */
  public TrainingBatch nextTrainingBatch(int batchSize) {
    return TrainingBatch.of(
        Stream.generate(this::nextTraining).limit(batchSize).toList(), VOCABULARY);
  }

  /** The next indirect-object sentence of a combination that is never learned from. */
  public Sentence nextHeldOut() {
    return indirectObject(true);
  }

  /** The next sentence of one pattern; indirect-object sentences are held-out ones. */
  public Sentence next(Pattern pattern) {
    return switch (pattern) {
      case INDIRECT_OBJECT -> indirectObject(true);
      case THREE_NAMES -> threeNames();
      case AGREEMENT -> agreement();
      case REPETITION -> repetition();
      case GREETING -> greeting();
      case COUNTING -> counting();
    };
  }

  /**
   * Held-out prompts of all templates, to measure a model with. The prompts of a pair are equally
   * long, those of different pairs are not: group them by length.
   *
   * @param count how many pairs
   */
  public PromptDataset heldOutPrompts(int count) {
    return new PromptDataset(Stream.generate(() -> pair(TEMPLATES)).limit(count).toList());
  }

  /**
   * Held-out prompts of the templates in which every part has the same position, to find circuits
   * with: all equally long, with a label per position. No clean prompt appears twice.
   *
   * @param count how many pairs
   */
  public PromptDataset circuitPrompts(int count) {
    Set<String> seen = new LinkedHashSet<>();
    List<PromptPair> pairs =
        Stream.generate(() -> pair(SentenceParts.ALIGNED_TEMPLATES))
            .filter(pair -> seen.add(pair.clean().toString()))
            .limit(count)
            .toList();
    List<String> labels = SentenceParts.ALIGNED_LABELS;
    Map<String, Integer> positions = new LinkedHashMap<>();
    positions.put("subject", labels.indexOf("subject"));
    positions.put("end", labels.size() - 1);
    return new PromptDataset(labels, positions, pairs);
  }

  /** The corrupt prompt has three other people, so nothing in it tells the clean one's answer. */
  private PromptPair pair(List<String> templates) {
    while (true) {
      Slots clean = Slots.draw(random, random.pick(templates));
      if (clean.heldOut()) {
        List<String> others = distinct(SentenceParts.NAMES, 5);
        others.removeAll(List.of(clean.indirectObject(), clean.subject()));
        Slots corrupt = clean.withNames(others.get(0), others.get(1), others.get(2));
        return new PromptPair(
            clean.fill(),
            corrupt.fill(),
            List.of(clean.indirectObject()),
            List.of(clean.subject()));
      }
    }
  }

  private Sentence indirectObject(boolean heldOut) {
    while (true) {
      Slots slots = Slots.draw(random, random.pick(TEMPLATES));
      if (slots.heldOut() == heldOut) {
        return new Sentence(Pattern.INDIRECT_OBJECT, slots.fill(), slots.indirectObject());
      }
    }
  }

  private Sentence threeNames() {
    List<String> people = distinct(SentenceParts.NAMES, 3);
    Slots slots =
        Slots.draw(random, random.pick(TEMPLATES))
            .withNames(people.get(0), people.get(1), people.get(2));
    return new Sentence(Pattern.THREE_NAMES, slots.fill(), people.get(random.below(2)));
  }

  private Sentence agreement() {
    List<List<String>> subjects = distinct(SentenceParts.ACTIVITIES, 2);
    int number = random.below(2) * 2;
    String distractor = subjects.get(1).get(random.below(2) * 2);
    return new Sentence(
        Pattern.AGREEMENT,
        "The %s near the %s".formatted(subjects.get(0).get(number), distractor),
        subjects.get(0).get(number + 1));
  }

  private Sentence repetition() {
    List<String> words = new ArrayList<>(SentenceParts.NAMES);
    words.addAll(SentenceParts.OBJECTS);
    List<String> sequence = distinct(words, 3 + random.below(5));
    int known = 1 + random.below(sequence.size() - 1);
    List<String> prompt = new ArrayList<>(sequence);
    prompt.addAll(sequence.subList(0, known));
    return new Sentence(Pattern.REPETITION, String.join(" ", prompt), sequence.get(known));
  }

  private Sentence greeting() {
    List<String> people = distinct(SentenceParts.NAMES, 2 + random.below(3));
    int last = 1 + random.below(people.size() - 1);
    String hello = "Hello " + String.join(", hello ", people);
    String goodbye = "Goodbye " + String.join(", goodbye ", people.subList(0, last));
    return new Sentence(Pattern.GREETING, hello + ". " + goodbye + ", goodbye", people.get(last));
  }

  private Sentence counting() {
    List<String> cycle = random.pick(SentenceParts.CYCLES);
    int first = random.below(cycle.size());
    int length = 2 + random.below(4);
    List<String> prompt = new ArrayList<>();
    for (int i = 0; i < length; i++) {
      prompt.add(cycle.get((first + i) % cycle.size()));
    }
    return new Sentence(
        Pattern.COUNTING, String.join(" ", prompt), cycle.get((first + length) % cycle.size()));
  }

  private <T> List<T> distinct(List<T> from, int count) {
    List<T> rest = new ArrayList<>(from);
    List<T> drawn = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      drawn.add(rest.remove(random.below(rest.size())));
    }
    return drawn;
  }

  /** A template with what is put into it. */
  private record Slots(
      String template,
      String first,
      String second,
      String subject,
      String place,
      String verb,
      String object) {

    static Slots draw(SplitMix64 random, String template) {
      String first = random.pick(SentenceParts.NAMES);
      String second;
      do {
        second = random.pick(SentenceParts.NAMES);
      } while (second.equals(first));
      return new Slots(
          template,
          first,
          second,
          random.coin() ? first : second,
          random.pick(SentenceParts.PLACES),
          random.pick(SentenceParts.VERBS),
          random.pick(SentenceParts.OBJECTS));
    }

    Slots withNames(String newFirst, String newSecond, String newSubject) {
      return new Slots(template, newFirst, newSecond, newSubject, place, verb, object);
    }

    String indirectObject() {
      return subject.equals(first) ? second : first;
    }

    boolean heldOut() {
      int a = SentenceParts.NAMES.indexOf(first);
      int b = SentenceParts.NAMES.indexOf(second);
      long pair = (long) Math.min(a, b) * SentenceParts.NAMES.size() + Math.max(a, b);
      long combination = TEMPLATES.indexOf(template) * 1_000_003L + pair;
      return Long.remainderUnsigned(SplitMix64.mix(combination + 1), HELD_OUT_ONE_IN) == 0;
    }

    String fill() {
      return template
          .replace("[A]", first)
          .replace("[B]", second)
          .replace("[S]", subject)
          .replace("[PLACE]", place)
          .replace("[VERB]", verb)
          .replace("[OBJECT]", object);
    }
  }

  private static Set<String> allWords() {
    Set<String> words = new LinkedHashSet<>(List.of(".", ","));
    words.addAll(SentenceParts.NAMES);
    words.addAll(SentenceParts.PLACES);
    words.addAll(SentenceParts.OBJECTS);
    words.addAll(SentenceParts.VERBS);
    SentenceParts.ACTIVITIES.forEach(words::addAll);
    SentenceParts.CYCLES.forEach(words::addAll);
    Collections.addAll(words, "Hello", "hello", "Goodbye", "goodbye", "The", "near", "the");
    for (String template : TEMPLATES) {
      Collections.addAll(words, template.replaceAll("\\[[A-Z]+\\]|[.,]", " ").strip().split(" +"));
    }
    return words;
  }
}
