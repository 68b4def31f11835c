package org.autocircuit.checkpoint;

import java.util.ArrayList;
import java.util.List;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Textbook forms of what transformers are made of, head by head, in raw operations. */
final class FamilyOps {

  /** The queries, keys or values of each head, {@code [batch, seq, d_head]}. */
  interface Turn {
    Tensor of(Tensor head);
  }

  private FamilyOps() {}

  static Tensor times(Tensor x, double factor) {
    return x.mul(new Scalar(factor));
  }

  static Tensor plus(Tensor x, double summand) {
    return x.add(new Scalar(summand));
  }

  static Tensor cat(List<Tensor> parts) {
    return torch.cat(new TensorVector(parts.toArray(Tensor[]::new)), -1);
  }

  /** {@code x W^T}, W being {@code [outputs, inputs]}. */
  static Tensor linear(Tensor x, Tensor weight) {
    return x.matmul(weight.t());
  }

  private static Tensor mean(Tensor x) {
    return x.mean(new long[] {-1}, true, new ScalarTypeOptional());
  }

  static Tensor layerNorm(Tensor x, Tensor weight, Tensor bias, double eps) {
    Tensor centred = x.sub(mean(x));
    Tensor deviation = plus(mean(centred.mul(centred)), eps).sqrt();
    return centred.div(deviation).mul(weight).add(bias);
  }

  static Tensor rmsNorm(Tensor x, Tensor weight, double eps) {
    return x.mul(plus(mean(x.mul(x)), eps).rsqrt()).mul(weight);
  }

  /** With the error function. */
  static Tensor gelu(Tensor x) {
    return times(x, 0.5).mul(plus(times(x, Math.sqrt(0.5)).erf(), 1));
  }

  /** With the hyperbolic tangent. */
  static Tensor geluTanh(Tensor x) {
    Tensor cubic = x.add(times(x.mul(x).mul(x), 0.044715));
    return times(x, 0.5).mul(plus(times(cubic, Math.sqrt(2 / Math.PI)).tanh(), 1));
  }

  static Tensor silu(Tensor x) {
    return x.mul(x.sigmoid());
  }

  static Tensor softCap(Tensor x, double cap) {
    return cap == 0 ? x : times(times(x, 1 / cap).tanh(), cap);
  }

  /** The part of {@code x} that belongs to a head. */
  static Tensor head(Tensor x, int begin, int width) {
    return x.narrow(-1, begin, width);
  }

  static double[] frequencies(int dims, double base) {
    double[] frequencies = new double[dims / 2];
    for (int i = 0; i < frequencies.length; i++) {
      frequencies[i] = 1 / Math.pow(base, 2.0 * i / dims);
    }
    return frequencies;
  }

  /** One column {@code [seq, 1]}: cosine or sine of position times frequency. */
  private static Tensor angles(long seq, double frequency, boolean cosine) {
    double[] values = new double[(int) seq];
    for (int position = 0; position < seq; position++) {
      double angle = position * frequency;
      values[position] = cosine ? Math.cos(angle) : Math.sin(angle);
    }
    return TensorArrays.of(values, ScalarType.Double, "cpu", seq, 1);
  }

  /** Turns pair {@code i}, which is (i, i + n) or (2 i, 2 i + 1), and leaves what is behind. */
  static Tensor turned(Tensor x, double[] frequencies, boolean neighbours) {
    int n = frequencies.length;
    Tensor[] columns = new Tensor[2 * n];
    for (int i = 0; i < n; i++) {
      int first = neighbours ? 2 * i : i;
      int second = neighbours ? 2 * i + 1 : i + n;
      Tensor a = x.narrow(-1, first, 1);
      Tensor b = x.narrow(-1, second, 1);
      Tensor cos = angles(x.size(1), frequencies[i], true);
      Tensor sin = angles(x.size(1), frequencies[i], false);
      columns[first] = a.mul(cos).sub(b.mul(sin));
      columns[second] = a.mul(sin).add(b.mul(cos));
    }
    List<Tensor> all = new ArrayList<>(List.of(columns));
    long rest = x.size(2) - columns.length;
    if (rest > 0) {
      all.add(x.narrow(-1, columns.length, rest));
    }
    return cat(all);
  }

  /** One head's attention; a query sees {@code window} positions, itself included; 0: all. */
  static Tensor attend(Tensor q, Tensor k, Tensor v, double scale, double cap, int window) {
    long seq = q.size(1);
    double[] hidden = new double[(int) (seq * seq)];
    for (int i = 0; i < seq; i++) {
      for (int j = 0; j < seq; j++) {
        boolean seen = j <= i && (window == 0 || i - j < window);
        hidden[(int) (i * seq + j)] = seen ? 0 : Double.NEGATIVE_INFINITY;
      }
    }
    Tensor scores = softCap(times(q.matmul(k.transpose(1, 2)), scale), cap);
    Tensor masked = scores.add(TensorArrays.of(hidden, ScalarType.Double, "cpu", seq, seq));
    return masked.softmax(-1).matmul(v);
  }
}
