package org.autocircuit.internal;

import java.util.Arrays;
import org.bytedeco.pytorch.AbstractTensor;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Copies between tensors and Java arrays. Temporaries go to the innermost scope. */
public final class TensorArrays {

  private TensorArrays() {}

  /** A tensor on a device, of a type, with the given values. */
  public static Tensor of(double[] values, ScalarType type, String device, long... shape) {
    return at(AbstractTensor.create(values, shape), type, device);
  }

  /** A tensor on a device, of a type, with the given values. */
  public static Tensor of(float[] values, ScalarType type, String device, long... shape) {
    return at(AbstractTensor.create(values, shape), type, device);
  }

  /** A tensor of 64-bit integers on a device. */
  public static Tensor of(long[] values, String device, long... shape) {
    return at(AbstractTensor.create(values, shape), ScalarType.Long, device);
  }

  /** A tensor of 64-bit integers on a device from equally long rows. */
  public static Tensor of(long[][] rows, String name, String device) {
    if (rows.length == 0 || rows[0].length == 0) {
      throw new IllegalArgumentException(name + ": expected at least one row and one column");
    }
    int columns = rows[0].length;
    long[] values = new long[length((long) rows.length * columns)];
    for (int row = 0; row < rows.length; row++) {
      if (rows[row].length != columns) {
        throw new IllegalArgumentException(
            "%s: expected rows of %s values, got %s in row %s"
                .formatted(name, columns, rows[row].length, row));
      }
      System.arraycopy(rows[row], 0, values, row * columns, columns);
    }
    return of(values, device, rows.length, columns);
  }

  /** The values of a tensor in row-major order. */
  public static double[] doubles(Tensor tensor) {
    Tensor plain = at(tensor.detach(), ScalarType.Double, "cpu").contiguous();
    double[] values = new double[length(plain.numel())];
    if (values.length > 0) {
      plain.data_ptr_double().get(values);
    }
    return values;
  }

  /** The values of a tensor in row-major order, rounded to single precision. */
  public static float[] floats(Tensor tensor) {
    Tensor plain = at(tensor.detach(), ScalarType.Float, "cpu").contiguous();
    float[] values = new float[length(plain.numel())];
    if (values.length > 0) {
      plain.data_ptr_float().get(values);
    }
    return values;
  }

  /** The values of a tensor of 64-bit integers in row-major order. */
  public static long[] longs(Tensor tensor) {
    Tensor plain = at(tensor, ScalarType.Long, "cpu").contiguous();
    long[] values = new long[length(plain.numel())];
    if (values.length > 0) {
      plain.data_ptr_long().get(values);
    }
    return values;
  }

  /** The rows of a matrix. */
  public static float[][] rows(Tensor matrix) {
    float[] values = floats(matrix);
    int columns = Math.toIntExact(matrix.size(1));
    float[][] rows = new float[Math.toIntExact(matrix.size(0))][];
    for (int row = 0; row < rows.length; row++) {
      rows[row] = Arrays.copyOfRange(values, row * columns, (row + 1) * columns);
    }
    return rows;
  }

  /**
   * The length of an array.
   *
   * @throws IllegalArgumentException if there are no arrays of that length
   */
  public static int length(long size) {
    if (size > Integer.MAX_VALUE - 8) {
      throw new IllegalArgumentException(
          "expected at most %s values, which a Java array holds, got %s"
              .formatted(Integer.MAX_VALUE - 8, size));
    }
    return (int) size;
  }

  private static Tensor at(Tensor tensor, ScalarType type, String device) {
    return tensor.to(new Device(device), type);
  }

  /** A tensor of zeros. */
  public static Tensor zeros(ScalarType type, String device, long... shape) {
    return at(torch.zeros(shape), type, device);
  }
}
