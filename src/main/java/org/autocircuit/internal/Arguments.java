package org.autocircuit.internal;

import java.util.Arrays;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Checks of tensors that users pass in: what was expected, and what came. */
public final class Arguments {

  /** Stands for any size in an expected shape. */
  public static final long ANY = -1;

  private Arguments() {}

  /**
   * Refuses what is no tensor any more.
   *
   * @throws IllegalArgumentException if the tensor is {@code null} or undefined
   * @throws IllegalStateException if it was freed
   */
  public static Tensor live(String name, Tensor tensor) {
    if (tensor == null) {
      throw new IllegalArgumentException(name + ": expected a tensor, got null");
    }
    if (tensor.isNull()) {
      throw new IllegalStateException(
          name + " is closed: the tensor or the PointerScope that owned it was closed before");
    }
    if (!tensor.defined()) {
      throw new IllegalArgumentException(name + ": expected a tensor, got an undefined one");
    }
    return tensor;
  }

  /**
   * Refuses a tensor of another shape.
   *
   * @param expected sizes, {@link #ANY} where any will do
   * @param meaning the dimensions in words, as in {@code [batch, seq]}
   */
  public static void shape(String name, Tensor tensor, String meaning, long... expected) {
    long[] shape = tensor.shape();
    boolean same = shape.length == expected.length;
    for (int dim = 0; same && dim < shape.length; dim++) {
      same = expected[dim] == ANY || expected[dim] == shape[dim];
    }
    if (!same) {
      throw new IllegalArgumentException(
          "%s: expected shape %s%s, got %s"
              .formatted(name, meaning, sizes(expected), Arrays.toString(shape)));
    }
  }

  /** Refuses a tensor of another type. */
  public static void type(String name, Tensor tensor, ScalarType expected) {
    ScalarType type = tensor.scalar_type().intern();
    if (type != expected) {
      throw new IllegalArgumentException(
          "%s: expected dtype %s, got %s".formatted(name, expected, type));
    }
  }

  /** Refuses a tensor on another device. */
  public static void device(String name, Tensor tensor, String expected) {
    if (!isOn(expected, tensor)) {
      throw new IllegalArgumentException(
          "%s: expected device %s, got %s".formatted(name, expected, deviceOf(tensor)));
    }
  }

  /** Returns whether a tensor is on a device. */
  public static boolean isOn(String device, Tensor tensor) {
    // On the CPU, the usual case, without a scope for names.
    return tensor.is_cpu() ? device.equals("cpu") : deviceOf(tensor).equals(device);
  }

  /** The device of a tensor as text, for instance {@code cpu} or {@code cuda:0}. */
  public static String deviceOf(Tensor tensor) {
    try (CallScope scope = new CallScope()) {
      Device device = tensor.device();
      return device.str().getString();
    }
  }

  private static String sizes(long[] expected) {
    if (Arrays.stream(expected).allMatch(size -> size == ANY)) {
      return "";
    }
    String[] words =
        Arrays.stream(expected)
            .mapToObj(size -> size == ANY ? "any" : Long.toString(size))
            .toArray(String[]::new);
    return " = " + Arrays.toString(words);
  }
}
