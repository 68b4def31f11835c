package org.autocircuit.patch;

/** Says what is applied to mask values before they interpolate. */
public enum MaskFn {
  /** The value itself: 0 keeps the current activation, 1 takes the patched one. */
  NONE,
  /** {@code 1 / (1 + exp(-value))}. */
  SIGMOID,
  /**
   * A sample of the hard-concrete distribution (Louizos et al. 2018), one for each prompt: {@code
   * clamp(1.2 * sigmoid((log u - log(1 - u) + value) / (2/3)) - 0.1, 0, 1)}, {@code u} uniform and
   * clamped to [1e-4, 1 - 1e-4]. Where {@code u} comes from is said by {@link Noise}.
   */
  HARD_CONCRETE
}
