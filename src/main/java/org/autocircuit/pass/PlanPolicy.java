package org.autocircuit.pass;

/**
 * Chooses how a patched pass is computed. All give the same results up to rounding; the choice
 * exists for comparison, and to see what a plan saves.
 */
public enum PlanPolicy {
  /** The cheapest of the others that fits the request. */
  AUTO,
  /**
   * Plain differentiable operations at every hook point, as in the Python original. What passes
   * that read hook points or train weights always use.
   */
  REFERENCE,
  /** Every source and every destination, whatever the masks. What gradients always use. */
  BUFFERED,
  /**
   * Only what differs from the fully patched run, which the source activations cache: nodes on a
   * path of edges with other masks from the embedding to the end. What tree patching of small
   * circuits uses. Where it does not fit, as {@link #AUTO}: with gradients, source outputs, samples
   * or dropout, with activations that {@link org.autocircuit.patch.StackedContexts} copied, or in
   * graphs that are not factorised.
   */
  FULLY_PATCHED
}
