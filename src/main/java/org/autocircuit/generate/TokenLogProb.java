package org.autocircuit.generate;

import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/**
 * A token that might have come at a place of an answer.
 *
 * @param id 0 to {@code d_vocab - 1}
 * @param logProb the logarithm of its probability there, as {@link GeneratedToken#logProb} has it
 */
public record TokenLogProb(int id, double logProb) {

  /**
   * The most probable tokens, equally probable ones in the order of their ids.
   *
   * @param logSum the logarithm of the sum of the exponentials of all logits
   */
  static List<TokenLogProb> best(double[] logits, int most, double logSum) {
    int count = Math.min(most, logits.length);
    if (count == 0) {
      return List.of();
    }
    double least = Exponentials.greatest(logits, count)[0];
    return IntStream.range(0, logits.length)
        .filter(id -> logits[id] >= least)
        .mapToObj(id -> new TokenLogProb(id, logits[id] - logSum))
        .sorted(Comparator.comparingDouble(TokenLogProb::logProb).reversed())
        .limit(count)
        .toList();
  }
}
