package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

/** Tests what the comparison of percentages accepts, and what not. */
class GoldenComparisonTest {

  private static final double[] MARGINS = {2, -1, 0, 1e-6, -1e-6, 0.5};

  @Test
  void tiesMayCountOrNot() {
    for (int counted = 2; counted <= 5; counted++) {
      int prompts = counted;
      assertThatCode(() -> compare(MARGINS, 1e-5, prompts)).doesNotThrowAnyException();
    }
  }

  @Test
  void nothingElseMay() {
    for (double counted : new double[] {0, 1, 6, 2.5, Double.NaN}) {
      assertThatThrownBy(() -> compare(MARGINS, 1e-5, counted))
          .as("%s prompts", counted)
          .isInstanceOf(AssertionError.class)
          .hasMessageContaining("got 2 to 5 of them");
    }
    // Without rounding only the 0 is a tie.
    assertThatThrownBy(() -> compare(MARGINS, 0, 2)).isInstanceOf(AssertionError.class);
    assertThatThrownBy(() -> compare(MARGINS, 0, 5)).isInstanceOf(AssertionError.class);
    assertThatCode(() -> compare(MARGINS, 0, 4)).doesNotThrowAnyException();
  }

  private static void compare(double[] margins, double rounding, double counted) {
    GoldenComparison.assertPercent("correct", margins, rounding, 100 * counted / margins.length);
  }
}
