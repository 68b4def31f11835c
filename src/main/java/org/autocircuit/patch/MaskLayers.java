package org.autocircuit.patch;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.OptionalInt;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeResource;
import org.bytedeco.pytorch.Tensor;

/**
 * The values of masks, and the modes that put others in their place for a while or train them. But
 * for {@link #close}, for one thread and within a {@link #use}.
 */
final class MaskLayers {

  /** Those in force come first; those that are there from the start to the end come last. */
  private final Deque<MaskLayer> layers;

  private final MaskLayer outermost;
  private final Deque<Training> trainings = new ArrayDeque<>();
  private final NativeResource resource;

  /**
   * An open {@link org.autocircuit.mode.TrainMaskMode}, and the gradients that the one around it
   * had.
   */
  private record Training(boolean wantsGradients, MaskLayer layer, Tensor outerGradients) {}

  /** Begins with a tensor of the given scope, whose memory it takes over. */
  MaskLayers(String name, Tensor values, CallScope scope) {
    Deque<MaskLayer> all = new ArrayDeque<>();
    outermost = new MaskLayer(values, scope);
    all.push(outermost);
    layers = all;
    resource = new NativeResource(name, () -> all.forEach(MaskLayer::free));
  }

  NativeResource.Use use() {
    return resource.use();
  }

  boolean isClosed() {
    return resource.isClosed();
  }

  void close() {
    resource.close();
  }

  /** The values in force. */
  MaskLayer current() {
    return layers.getFirst();
  }

  /** The values outside of all modes; always the same, and for any thread. */
  MaskLayer outermost() {
    return outermost;
  }

  /** Returns what passes use now: the values in force, or their leaf. */
  Tensor inForce() {
    return wantsGradients() ? current().leaf() : current().values();
  }

  boolean wantsGradients() {
    return !trainings.isEmpty() && trainings.getFirst().wantsGradients;
  }

  boolean isTraining() {
    return !trainings.isEmpty();
  }

  /**
   * Begins training, without gradients; what is returned ends it. Where it begins inside another
   * training, the other's gradients come back at the end.
   */
  Runnable train(boolean wantsGradients) {
    try (CallScope scope = new CallScope()) {
      MaskLayer layer = current();
      Tensor outer = isTraining() ? scope.keep(layer.gradients()) : null;
      Training training = new Training(wantsGradients, layer, outer);
      layer.forgetGradients();
      trainings.push(training);
      return () -> end(training);
    }
  }

  private void end(Training training) {
    trainings.remove(training);
    if (training.outerGradients != null) {
      ifOpen(() -> giveBack(training));
      training.outerGradients.releaseReference();
    }
  }

  /** Modes of one model end in order; one of another model may have taken its values with it. */
  private void giveBack(Training training) {
    if (layers.contains(training.layer)) {
      training.layer.setGradients(training.outerGradients);
    }
  }

  /**
   * Puts a copy of the values in force in their place, for the given number of examples; what is
   * returned puts them back.
   */
  Runnable enter(int examples) {
    try (CallScope scope = new CallScope()) {
      MaskLayer inner = new MaskLayer(current().copy(OptionalInt.of(examples)), scope);
      layers.push(inner);
      return () -> ifOpen(() -> leave(inner));
    }
  }

  private void leave(MaskLayer layer) {
    layers.remove(layer);
    layer.free();
  }

  /** Runs what ends a mode, unless the masks were closed before, with all their values. */
  private void ifOpen(Runnable end) {
    NativeResource.Use use;
    try {
      use = resource.use();
    } catch (IllegalStateException closed) {
      return;
    }
    try (use) {
      end.run();
    }
  }
}
