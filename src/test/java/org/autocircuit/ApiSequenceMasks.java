package org.autocircuit;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import org.autocircuit.ApiSequenceState.Mode;
import org.autocircuit.ApiSequenceState.Worker;
import org.autocircuit.patch.MaskParameters;

/** Masks of one thread in an {@link ApiSequence}, and what they should hold. */
final class ApiSequenceMasks {

  final MaskParameters parameters;
  final Worker worker;
  boolean closed;

  /** The values in force come first, those outside of all modes last. */
  private final Deque<Layer> layers = new ArrayDeque<>();

  private final Deque<Training> trainings = new ArrayDeque<>();

  /** Values, shared or of each example; those that a mode put there go with it. */
  static final class Layer {

    final int examples;
    private final Mode mode;
    private double[] values;
    private int writes;
    private boolean hasGradients;
    private boolean left;

    private Layer(Mode mode, int examples, double[] values) {
      this.mode = mode;
      this.examples = examples;
      this.values = values;
    }

    int writes() {
      return writes;
    }

    void wentBackward() {
      hasGradients = true;
    }
  }

  /**
   * Holds what a mode that trains found: gradients that come back when it ends, if it is an inner
   * one.
   */
  private record Training(Mode mode, boolean wantsGrad, Layer layer, boolean inner, boolean had) {}

  ApiSequenceMasks(MaskParameters parameters, Worker worker, double[] values) {
    this.parameters = parameters;
    this.worker = worker;
    layers.push(new Layer(null, 0, values));
  }

  Class<?> failure(Worker caller) {
    return closed || caller != worker ? IllegalStateException.class : null;
  }

  Layer current() {
    return layers.getFirst();
  }

  /** Returns how many examples have values of their own; 0: they share them. */
  int examples() {
    return current().examples;
  }

  double[] values() {
    return current().values;
  }

  double[] outsideModes() {
    return layers.getLast().values;
  }

  boolean hasGradients() {
    return current().hasGradients;
  }

  /** Writes the same to every example. */
  void write(double[] shared) {
    writeEach(repeated(shared, Math.max(1, examples())));
  }

  void writeEach(double[] values) {
    current().values = values;
    current().writes++;
  }

  private static double[] repeated(double[] row, int times) {
    double[] all = new double[row.length * times];
    Arrays.setAll(all, i -> row[i % row.length]);
    return all;
  }

  void enter(Mode mode, int examples) {
    int rows = Math.max(1, examples());
    int size = values().length / rows;
    double[] copies = new double[examples * size];
    for (int example = 0; example < examples; example++) {
      System.arraycopy(values(), example % rows * size, copies, example * size, size);
    }
    layers.push(new Layer(mode, examples, copies));
  }

  void train(Mode mode, boolean wantsGrad) {
    Layer layer = current();
    trainings.push(new Training(mode, wantsGrad, layer, isTraining(), layer.hasGradients));
    layer.hasGradients = false;
  }

  /** Undoes what a mode did to these masks. */
  void end(Mode mode) {
    for (Training training : List.copyOf(trainings)) {
      if (training.mode == mode) {
        trainings.remove(training);
        if (training.inner && !training.layer.left) {
          training.layer.hasGradients = training.had;
        }
      }
    }
    for (Layer layer : new ArrayList<>(layers)) {
      if (layer.mode != null && layer.mode == mode) {
        layers.remove(layer);
        layer.left = true;
      }
    }
  }

  boolean isTraining() {
    return !trainings.isEmpty();
  }

  /** Returns what the innermost mode that trains these masks wants. */
  boolean requiresGrad() {
    return isTraining() && trainings.getFirst().wantsGrad;
  }

  @Override
  public String toString() {
    String each = examples() == 0 ? "" : " for %s examples".formatted(examples());
    return "masks of %s%s%s".formatted(worker, each, closed ? " (closed)" : "");
  }
}
