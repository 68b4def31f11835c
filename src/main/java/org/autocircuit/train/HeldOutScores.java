package org.autocircuit.train;

import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.IndirectObjectSentences;
import org.autocircuit.data.Sentence;
import org.autocircuit.data.Sentence.Pattern;
import org.autocircuit.internal.Numbers;
import org.autocircuit.patch.Use;
import org.autocircuit.tokenizer.WordLevelVocabulary;

/**
 * Says how well a model does on {@link IndirectObjectSentences}: on indirect-object sentences of
 * combinations that are never learned from, by the order of the names, and on the other patterns.
 *
 * @param abb sentences whose answer is the name that comes first ("Mary and John ... John ...")
 * @param bab sentences whose answer is the name that comes second ("John and Mary ... John ...")
 * @param others every pattern but {@link Pattern#INDIRECT_OBJECT}; unmodifiable. Of {@link
 *     Pattern#THREE_NAMES} nobody can tell more than half, at a loss of ln 2 = 0.69.
 */
public record HeldOutScores(AnswerScore abb, AnswerScore bab, Map<Pattern, AnswerScore> others) {

  /** Copies the map. */
  public HeldOutScores {
    others = Collections.unmodifiableMap(new EnumMap<>(others));
  }

  /**
   * Measures a model.
   *
   * @param model has the language's vocabulary
   * @param seed chooses the sentences
   * @param sentences how many of each order and of each other pattern
   */
  public static HeldOutScores of(PatchableModel model, long seed, int sentences) {
    Numbers.atLeast(1, "sentences", sentences);
    WordLevelVocabulary vocabulary = IndirectObjectSentences.vocabulary();
    IndirectObjectSentences source = new IndirectObjectSentences(seed);
    List<Sentence> abb = new ArrayList<>();
    List<Sentence> bab = new ArrayList<>();
    while (abb.size() < sentences || bab.size() < sentences) {
      Sentence sentence = source.nextHeldOut();
      List<Sentence> order = answerComesFirst(sentence) ? abb : bab;
      if (order.size() < sentences) {
        order.add(sentence);
      }
    }
    try (Use use = model.use()) {
      Map<Pattern, AnswerScore> others = new EnumMap<>(Pattern.class);
      for (Pattern pattern : Pattern.values()) {
        if (pattern != Pattern.INDIRECT_OBJECT) {
          List<Sentence> drawn =
              Stream.generate(() -> source.next(pattern)).limit(sentences).toList();
          others.put(pattern, AnswerScore.of(model, vocabulary, drawn));
        }
      }
      return new HeldOutScores(
          AnswerScore.of(model, vocabulary, abb), AnswerScore.of(model, vocabulary, bab), others);
    }
  }

  /** The lower of the accuracies of the two orders. */
  public double accuracy() {
    return Math.min(abb.accuracy(), bab.accuracy());
  }

  private static boolean answerComesFirst(Sentence sentence) {
    for (String word : sentence.prompt().split("\\W+", -1)) {
      if (IndirectObjectSentences.names().contains(word)) {
        return word.equals(sentence.answer());
      }
    }
    throw new IllegalStateException("\"" + sentence.prompt() + "\" has no names");
  }
}
