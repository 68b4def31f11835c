package org.autocircuit.patch;

import java.util.Objects;
import org.bytedeco.pytorch.Tensor;

/** Says where the randomness of hard-concrete samples and of dropout comes from. Immutable. */
public sealed interface Noise {

  /** Seed 0, step 0. */
  Noise DEFAULT = seeded(0, 0);

  /**
   * Drawn by native code in each pass; the same seed and step give the same noise.
   *
   * @param seed one for a run
   * @param step one for each forward pass of it
   */
  static Noise seeded(long seed, long step) {
    return new Seeded(seed, step);
  }

  /**
   * Given uniform draws for hard-concrete samples. (Dropout, if there is any, uses seed 0.)
   *
   * @param uniforms in (0, 1), {@code [batch, n_masks]}, of the masks' type and device; must live
   *     as long as this is used
   */
  static Noise uniforms(Tensor uniforms) {
    return new Uniforms(uniforms);
  }

  /**
   * For the library: refuses noise that nothing would take.
   *
   * @throws IllegalArgumentException for uniforms without hard-concrete samples, or any but the
   *     default with neither samples nor dropout
   */
  default void requireUse(MaskFn maskFn, double dropout) {
    boolean used =
        equals(DEFAULT)
            || maskFn == MaskFn.HARD_CONCRETE
            || (dropout > 0 && this instanceof Seeded);
    if (!used) {
      throw new IllegalArgumentException(
          "noise: expected none, since mask function %s with dropout %s takes no %s"
              .formatted(maskFn, dropout, this instanceof Seeded ? "samples" : "uniforms"));
    }
  }

  /**
   * Noise from a seed.
   *
   * @param seed one for a run
   * @param step one for each forward pass of it
   */
  record Seeded(long seed, long step) implements Noise {}

  /**
   * Given draws.
   *
   * @param tensor {@code [batch, n_masks]}
   */
  record Uniforms(Tensor tensor) implements Noise {

    /** Checks that there is a tensor. */
    public Uniforms {
      Objects.requireNonNull(tensor, "uniforms");
    }
  }
}
