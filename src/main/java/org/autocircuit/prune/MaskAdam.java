package org.autocircuit.prune;

import org.autocircuit.internal.CallScope;
import org.autocircuit.patch.MaskParameters;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * Adam (Kingma and Ba, 2015) on the masks of a model, with betas 0.9 and 0.999 and epsilon 1e-8.
 * Close it to free its state, as large as the masks twice over.
 */
final class MaskAdam implements AutoCloseable {

  private static final double BETA1 = 0.9;
  private static final double BETA2 = 0.999;
  private static final double EPSILON = 1e-8;

  private final MaskParameters masks;
  private final double learningRate;
  private final Tensor mean;
  private final Tensor square;
  private int steps;

  MaskAdam(MaskParameters masks, double learningRate) {
    this.masks = masks;
    this.learningRate = learningRate;
    try (CallScope scope = new CallScope()) {
      Tensor zeros = masks.tensor().mul(new Scalar(0));
      mean = scope.keep(zeros);
      square = scope.keep(zeros.clone());
    }
  }

  /** Changes the masks by what their gradients say. Outside of training, where these stay. */
  void step() {
    try (CallScope scope = new CallScope()) {
      Tensor gradient = masks.gradients();
      steps++;
      mean.lerp_(gradient, new Scalar(1 - BETA1));
      square.mul_(new Scalar(BETA2)).addcmul_(gradient, gradient, new Scalar(1 - BETA2));
      Tensor root = square.sqrt().mul_(new Scalar(1 / Math.sqrt(1 - Math.pow(BETA2, steps))));
      double rate = learningRate / (1 - Math.pow(BETA1, steps));
      masks.tensor().addcdiv_(mean, root.add_(new Scalar(EPSILON)), new Scalar(-rate));
    }
  }

  @Override
  public void close() {
    mean.releaseReference();
    square.releaseReference();
  }
}
