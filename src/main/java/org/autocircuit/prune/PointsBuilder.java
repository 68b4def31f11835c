package org.autocircuit.prune;

import org.autocircuit.internal.Numbers;

/**
 * Collects the settings of algorithms that integrate gradients. Not safe for use by several
 * threads.
 *
 * @param <B> the builder of the algorithm
 */
public abstract class PointsBuilder<B extends PointsBuilder<B>> extends AttributionBuilder<B> {

  int points = 5;

  PointsBuilder() {}

  /**
   * Sets the number of points of each integral; each costs a gradient.
   *
   * @throws IllegalArgumentException if it is less than 1
   */
  public B points(int value) {
    points = Numbers.atLeast(1, "points", value);
    return self();
  }
}
