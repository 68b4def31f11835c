package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.pytorch.Tensor;

/** Comparisons with the reference, with the tolerances that FORMAT.md suggests. */
final class GoldenComparison {

  private GoldenComparison() {}

  /** Logits and activations: single precision 1e-4 absolute and relative, double 1e-9. */
  static void assertActivations(GoldenOp op, String what, Tensor actual, GoldenTensor expected) {
    assertThat(actual.shape()).as("%s: shape of %s", op, what).isEqualTo(expected.shape());
    double tolerance = op.goldenCase().isDouble() ? 1e-9 : 1e-4;
    double[] values = TensorArrays.doubles(actual);
    for (int i = 0; i < values.length; i++) {
      double wanted = expected.doubles()[i];
      assertClose(op, what, i, values[i], wanted, tolerance * (1 + Math.abs(wanted)));
    }
  }

  /**
   * Gradients and scores: single precision 1e-3 of the module's largest, double 1e-9 of it. Where
   * all gradients cancel to nothing, rounding is what remains, which is measured by the logits.
   */
  static void assertGradients(
      GoldenOp op, ModelGraph graph, double[] actual, Map<String, GoldenTensor> expected) {
    double relative = op.goldenCase().isDouble() ? 1e-9 : 1e-3;
    double rounding = (op.goldenCase().isDouble() ? 1e-14 : 1e-6) * op.goldenCase().logitScale();
    double largest =
        expected.values().stream().mapToDouble(GoldenComparison::largest).max().orElse(0);
    assertThat(expected).as(op.toString()).isNotEmpty();
    int examples = actual.length / graph.maskSize();
    for (DestModule module : graph.destModules()) {
      // If the reference's tensor has no gradient at all, ours is 0.
      GoldenTensor wanted = expected.get(module.moduleName());
      // Rounding in an almost unused module is measured by the others.
      double tolerance =
          relative * ((wanted == null ? 0 : largest(wanted)) + 1e-3 * largest) + rounding;
      for (int i = 0; i < examples * module.size(); i++) {
        int at = i / module.size() * graph.maskSize() + module.offset() + i % module.size();
        assertClose(
            op,
            module.moduleName(),
            i,
            actual[at],
            wanted == null ? 0 : wanted.doubles()[i],
            tolerance);
      }
    }
  }

  static void assertScalar(GoldenOp op, String what, double actual, double expected) {
    double tolerance = op.goldenCase().isDouble() ? 1e-9 : 1e-4;
    assertClose(op, what, 0, actual, expected, tolerance * (1 + Math.abs(expected)));
  }

  /**
   * A percentage of prompts for which something is greater than something else, whose difference
   * for each is the margin. Where that is 0 up to rounding, the reference may have counted the
   * prompt or not; of the others it must have counted the right ones.
   */
  static void assertPercent(String what, double[] margins, double rounding, double expected) {
    long sure = Arrays.stream(margins).filter(margin -> margin > rounding).count();
    long possible = Arrays.stream(margins).filter(margin -> margin >= -rounding).count();
    double counted = expected / 100 * margins.length;
    double whole = Math.rint(counted);
    if (!(Math.abs(counted - whole) < 1e-3 && whole >= sure && whole <= possible)) {
      throw new AssertionError(
          "%s: expected %s %% of %s prompts, got %s to %s of them, by margins %s"
              .formatted(what, expected, margins.length, sure, possible, Arrays.toString(margins)));
    }
  }

  static double largest(GoldenTensor tensor) {
    return Arrays.stream(tensor.doubles()).map(Math::abs).filter(Double::isFinite).max().orElse(0);
  }

  private static void assertClose(
      GoldenOp op, String what, int index, double actual, double expected, double tolerance) {
    boolean close =
        Double.isFinite(expected)
            ? Math.abs(actual - expected) <= tolerance
            : Double.compare(actual, expected) == 0;
    if (!close) {
      throw new AssertionError(
          String.format(
              Locale.ROOT,
              "%s: %s[%d]: expected %s, got %s (tolerance %.2g)",
              op,
              what,
              index,
              expected,
              actual,
              tolerance));
    }
  }
}
