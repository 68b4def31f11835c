package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;
import java.util.function.UnaryOperator;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A tiny random model of a Hugging Face family, under Hugging Face's names, with a forward pass of
 * its own that shares nothing with the library: the family's published formulas in raw operations.
 */
public abstract class FamilyModel {

  static final int LAYERS = 3;
  static final int D = 16;
  static final int HEADS = 4;
  static final int MLP = 24;
  static final int VOCAB = 29;
  static final int CONTEXT = 32;

  final ObjectNode config = JsonNodeFactory.instance.objectNode();
  final Map<String, Tensor> tensors = new LinkedHashMap<>();
  private final Random random;

  FamilyModel(String modelType, long seed) {
    random = new Random(seed);
    config.put("model_type", modelType);
    config.put("vocab_size", VOCAB);
    config.put("torch_dtype", "float64");
    config.put("attention_dropout", 0.1);
  }

  /** Logits {@code [batch, seq, vocab]} in 64-bit floats. */
  abstract Tensor forward(Tensor tokens);

  final Tensor tensor(String name) {
    if (!tensors.containsKey(name)) {
      throw new IllegalArgumentException(name);
    }
    return tensors.get(name);
  }

  final void matrix(String name, long... shape) {
    add(name, 0.35, 0, shape);
  }

  final void bias(String name, long size) {
    add(name, 0.2, 0, size);
  }

  /** Weights around {@code mean}. */
  final void scale(String name, double mean, long size) {
    add(name, 0.2, mean, size);
  }

  private void add(String name, double deviation, double mean, long... shape) {
    int size = 1;
    for (long dim : shape) {
      size *= (int) dim;
    }
    double[] values = new double[size];
    for (int i = 0; i < size; i++) {
      values[i] = mean + deviation * random.nextGaussian();
    }
    tensors.put(name, TensorArrays.of(values, ScalarType.Double, "cpu", shape));
  }

  /** The weights as a file of this type holds them. */
  final FamilyModel rounded(ScalarType type) {
    return changed(weight -> weight.to(type).to(ScalarType.Double));
  }

  private FamilyModel changed(UnaryOperator<Tensor> change) {
    tensors.replaceAll((name, weight) -> change.apply(weight));
    return this;
  }

  @Override
  public String toString() {
    return config.get("model_type").textValue();
  }
}
