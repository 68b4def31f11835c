package org.autocircuit.internal.run;

import org.bytedeco.pytorch.Tensor;

/**
 * A vector that a step adds at a hook point to the tokens of one chunk.
 *
 * @param chunk its number in the step
 * @param value {@code [1, tokens or 1, d_model]}
 */
public record StepAddition(String hook, int chunk, Tensor value) {}
