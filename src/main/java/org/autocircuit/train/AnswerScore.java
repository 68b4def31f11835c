package org.autocircuit.train;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.Sentence;
import org.autocircuit.internal.Stop;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.Use;
import org.autocircuit.tokenizer.WordLevelVocabulary;

/**
 * Says how well a model tells the last words of sentences.
 *
 * @param sentences how many were asked
 * @param accuracy share whose right answer is the most probable next token
 * @param loss mean of the negative natural logarithm of the right answer's probability
 */
public record AnswerScore(int sentences, double accuracy, double loss) {

  private static final int BATCH = 100;

  @SuppressWarnings("ArrayRecordComponent") // never compared
  private record Asked(long[] prompt, int answer) {}

  /**
   * Asks a model.
   *
   * @param model a transformer; open modes do not matter
   * @param vocabulary the model's; prompts begin with its end-of-text token
   * @param sentences at least one
   * @throws IllegalArgumentException if there is no sentence, or one has a word that is not in the
   *     vocabulary
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN or infinite
   */
  public static AnswerScore of(
      PatchableModel model, WordLevelVocabulary vocabulary, Collection<Sentence> sentences) {
    if (sentences.isEmpty()) {
      throw new IllegalArgumentException("a score needs at least one sentence");
    }
    // Equally long prompts run together: no padding.
    Map<Integer, List<Asked>> byLength =
        sentences.stream()
            .map(sentence -> ask(sentence, vocabulary))
            .collect(
                Collectors.groupingBy(a -> a.prompt.length, TreeMap::new, Collectors.toList()));
    int right = 0;
    double loss = 0;
    try (Use use = model.use()) {
      for (List<Asked> group : byLength.values()) {
        for (int from = 0; from < group.size(); from += BATCH) {
          Stop.check();
          List<Asked> batch = group.subList(from, Math.min(group.size(), from + BATCH));
          long[][] tokens = batch.stream().map(Asked::prompt).toArray(long[][]::new);
          float[][] logits = model.logits(tokens, PatchContext.NONE);
          for (int row = 0; row < logits.length; row++) {
            int answer = batch.get(row).answer;
            right += isLargest(logits[row], answer) ? 1 : 0;
            loss += negativeLogProbability(logits[row], answer);
          }
        }
      }
    }
    if (!Double.isFinite(loss)) {
      throw model.precision().notFinite("logits");
    }
    return new AnswerScore(
        sentences.size(), (double) right / sentences.size(), loss / sentences.size());
  }

  private static Asked ask(Sentence sentence, WordLevelVocabulary vocabulary) {
    long[] words = vocabulary.ids(sentence.prompt());
    long[] prompt = new long[words.length + 1];
    prompt[0] = vocabulary.endOfText();
    System.arraycopy(words, 0, prompt, 1, words.length);
    return new Asked(prompt, Math.toIntExact(vocabulary.ids(sentence.answer())[0]));
  }

  private static boolean isLargest(float[] logits, int answer) {
    for (int token = 0; token < logits.length; token++) {
      if (token != answer && logits[token] >= logits[answer]) {
        return false;
      }
    }
    return true;
  }

  private static double negativeLogProbability(float[] logits, int answer) {
    double largest = Double.NEGATIVE_INFINITY;
    for (float logit : logits) {
      largest = Math.max(largest, logit);
    }
    double sum = 0;
    for (float logit : logits) {
      sum += Math.exp(logit - largest);
    }
    return largest + Math.log(sum) - logits[answer];
  }
}
