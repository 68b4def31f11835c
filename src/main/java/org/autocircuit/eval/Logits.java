package org.autocircuit.eval;

import java.util.Arrays;
import java.util.Objects;
import java.util.PriorityQueue;
import java.util.stream.IntStream;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Logits of one forward pass as plain Java data, nothing to close: {@code [batch, d_vocab]}, or
 * {@code [batch, positions, d_vocab]} where more than the last position was asked for. A row is one
 * position of one prompt; rows of a prompt follow one another.
 *
 * <p>Values are kept in the precision that they were computed in. Immutable, safe to share between
 * threads.
 */
public final class Logits {

  private final int batch;
  private final int positions;
  private final int vocabulary;

  /** One of the two is {@code null}. */
  private final float[] floats;

  private final double[] doubles;

  private Logits(int batch, int positions, int vocabulary, float[] floats, double[] doubles) {
    this.batch = batch;
    this.positions = positions;
    this.vocabulary = vocabulary;
    this.floats = floats;
    this.doubles = doubles;
  }

  /**
   * Copies a tensor, which stays the caller's.
   *
   * @param tensor {@code [batch, d_vocab]} or {@code [batch, positions, d_vocab]}, on any device
   * @throws IllegalArgumentException if it has another number of dimensions
   */
  public static Logits of(Tensor tensor) {
    try (PointerScope temporaries = new PointerScope()) {
      long dimensions = tensor.dim();
      if (dimensions != 2 && dimensions != 3) {
        throw new IllegalArgumentException(
            "logits: expected shape [batch, d_vocab] or [batch, positions, d_vocab], got %s dimensions"
                .formatted(dimensions));
      }
      int batch = Math.toIntExact(tensor.size(0));
      int positions = dimensions == 2 ? 1 : Math.toIntExact(tensor.size(1));
      int vocabulary = Math.toIntExact(tensor.size(dimensions - 1));
      return tensor.scalar_type().intern() == ScalarType.Double
          ? new Logits(batch, positions, vocabulary, null, TensorArrays.doubles(tensor))
          : new Logits(batch, positions, vocabulary, TensorArrays.floats(tensor), null);
    }
  }

  /**
   * Copies rows, one for each prompt.
   *
   * @throws IllegalArgumentException if there is no row, or the rows differ in length
   */
  public static Logits of(float[][] rows) {
    if (rows.length == 0) {
      throw new IllegalArgumentException("logits: expected at least one row, got none");
    }
    int vocabulary = rows[0].length;
    float[] values = new float[TensorArrays.length((long) rows.length * vocabulary)];
    for (int row = 0; row < rows.length; row++) {
      if (rows[row].length != vocabulary) {
        throw new IllegalArgumentException(
            "logits: expected %s values in row %s as in the first, got %s"
                .formatted(vocabulary, row, rows[row].length));
      }
      System.arraycopy(rows[row], 0, values, row * vocabulary, vocabulary);
    }
    return new Logits(rows.length, 1, vocabulary, values, null);
  }

  /** Number of prompts. */
  public int batch() {
    return batch;
  }

  /** Positions of each prompt; 1 if only the last was asked for. */
  public int positions() {
    return positions;
  }

  /** Number of tokens in the vocabulary. */
  public int vocabulary() {
    return vocabulary;
  }

  /** Number of rows: prompts times positions. */
  public int rows() {
    return batch * positions;
  }

  /**
   * One logit.
   *
   * @throws IndexOutOfBoundsException if there is no such row or token
   */
  public double get(int row, int token) {
    Objects.checkIndex(row, rows());
    Objects.checkIndex(token, vocabulary);
    int index = row * vocabulary + token;
    return floats == null ? doubles[index] : floats[index];
  }

  /** A copy of all values in row-major order. */
  public double[] toArray() {
    return floats == null
        ? doubles.clone()
        : IntStream.range(0, floats.length).mapToDouble(i -> floats[i]).toArray();
  }

  /**
   * The logarithms of the probabilities of all tokens: the row less the log of its exponentials.
   */
  public double[] logProbabilities(int row) {
    double[] values = row(row);
    double greatest = Arrays.stream(values).max().orElse(0);
    double sum = 0;
    for (double value : values) {
      sum += Math.exp(value - greatest);
    }
    double norm = greatest + Math.log(sum);
    for (int i = 0; i < values.length; i++) {
      values[i] -= norm;
    }
    return values;
  }

  /** The probabilities of all tokens. */
  public double[] probabilities(int row) {
    return Arrays.stream(logProbabilities(row)).map(Math::exp).toArray();
  }

  /** Returns whether no logit of a row is NaN or infinite. */
  public boolean isFinite(int row) {
    return Arrays.stream(row(row)).allMatch(Double::isFinite);
  }

  /**
   * The token with the greatest logit, the first of them if several tie.
   *
   * @throws NotFiniteException if a logit of the row is NaN
   */
  public int topToken(int row) {
    requireNumbers(row);
    int top = 0;
    double greatest = Double.NEGATIVE_INFINITY;
    for (int token = 0; token < vocabulary; token++) {
      double value = get(row, token);
      if (value > greatest) {
        greatest = value;
        top = token;
      }
    }
    return top;
  }

  /**
   * The tokens with the greatest logits in descending order, ties in ascending order of tokens.
   *
   * @param count how many; all tokens where there are fewer
   * @throws IllegalArgumentException if the count is negative
   * @throws NotFiniteException if a logit of the row is NaN
   */
  public int[] topTokens(int row, int count) {
    if (count < 0) {
      throw new IllegalArgumentException("count: expected 0 or more tokens, got " + count);
    }
    requireNumbers(row);
    double[] values = row(row);
    // The best so far, the last of them on top. Later tokens come after earlier ones that tie.
    PriorityQueue<Integer> best =
        new PriorityQueue<>(
            (a, b) -> {
              int greater = Double.compare(values[a], values[b]);
              return greater == 0 ? Integer.compare(b, a) : greater;
            });
    for (int token = 0; token < vocabulary && count > 0; token++) {
      if (best.size() < count) {
        best.add(token);
      } else if (Double.compare(values[token], values[best.peek()]) > 0) {
        best.poll();
        best.add(token);
      }
    }
    int[] tokens = new int[best.size()];
    for (int rank = tokens.length - 1; rank >= 0; rank--) {
      tokens[rank] = best.poll();
    }
    return tokens;
  }

  /** The shape. */
  @Override
  public String toString() {
    return positions == 1
        ? "Logits[%s, %s]".formatted(batch, vocabulary)
        : "Logits[%s, %s, %s]".formatted(batch, positions, vocabulary);
  }

  /** Nothing is greater than NaN, nor is NaN greater. */
  void requireNumbers(int row) {
    if (Arrays.stream(row(row)).anyMatch(Double::isNaN)) {
      throw new NotFiniteException("logits of row %s are not finite: NaN".formatted(row));
    }
  }

  private double[] row(int row) {
    double[] values = new double[vocabulary];
    for (int token = 0; token < vocabulary; token++) {
      values[token] = get(row, token);
    }
    return values;
  }
}
