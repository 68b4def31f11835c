package org.autocircuit.eval;

import java.util.function.IntPredicate;

/** The binomial distribution of successes among trials. */
final class Binomial {

  private Binomial() {}

  /**
   * The probability that the number of successes is one of some numbers.
   *
   * @param trials at least 0
   * @param success the probability of one success, between 0 and 1, both excluded
   */
  static double probability(int trials, double success, IntPredicate numbers) {
    double sum = 0;
    double logChoose = 0;
    for (int k = 0; k <= trials; k++) {
      if (k > 0) {
        logChoose += Math.log(trials - k + 1) - Math.log(k);
      }
      if (numbers.test(k)) {
        sum += Math.exp(logChoose + k * Math.log(success) + (trials - k) * Math.log1p(-success));
      }
    }
    return Math.min(sum, 1);
  }
}
