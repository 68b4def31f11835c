package org.autocircuit.internal;

/** Draws how often prompts count in the replicates of a Poisson bootstrap. */
public final class Poisson {

  private Poisson() {}

  /** Draws from a Poisson distribution of mean 1, by seed, replicate and prompt alone. */
  public static int times(long seed, long replicate, long prompt) {
    double uniform = (mix(mix(mix(seed) + replicate) + prompt) >>> 11) * 0x1p-53;
    double probability = Math.exp(-1);
    double below = probability;
    int times = 0;
    while (uniform >= below && times < 20) { // beyond has no weight in a double
      times++;
      probability /= times;
      below += probability;
    }
    return times;
  }

  private static long mix(long value) {
    return new SplitMix64(value).next();
  }
}
