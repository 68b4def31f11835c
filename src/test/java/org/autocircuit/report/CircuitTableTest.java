package org.autocircuit.report;

import static org.assertj.core.api.Assertions.assertThat;

import org.autocircuit.eval.CircuitMeasures;
import org.junit.jupiter.api.Test;

class CircuitTableTest {

  private static final CircuitMeasures MODEL = new CircuitMeasures(4.5, 0, 0.98, 1);

  private static final CircuitMeasures EMPTY = new CircuitMeasures(-4.5, 6.25, 0, 0);

  @Test
  void putsRandomCircuitsBesideTheCircuit() {
    CircuitTable table =
        new CircuitTable(32_491, MODEL, EMPTY)
            .row(0, EMPTY, null)
            .row(162, new CircuitMeasures(3.6, 0.5, 0.9, 1), new CircuitMeasures(-4.41, 6, 0.1, 0))
            .row(32_491, MODEL, null);
    assertThat(table)
        .hasToString(
            """
                             -------------- circuit ---------------    ---- random ----
               edges  share  logit diff  faithful      KL  accuracy    faithful      KL
                   0    0 %      -4.500     0.0 %  6.2500     0.0 %
                 162  0.5 %       3.600    90.0 %  0.5000    90.0 %       1.0 %  6.0000
              32,491  100 %       4.500   100.0 %  0.0000    98.0 %
               model              4.500   100.0 %  0.0000    98.0 %
            """);
    assertThat(table.toString().lines()).allMatch(line -> line.length() <= 80);
  }

  @Test
  void hasNoColumnsOfRandomCircuitsWithoutAny() {
    assertThat(new CircuitTable(10, MODEL, EMPTY).row(5, MODEL, null).toString())
        .startsWith("  edges  share  logit diff  faithful      KL  accuracy\n")
        .doesNotContain("random");
  }

  @Test
  void whatIsNoNumberIsPrintedAsNone() {
    double nan = Double.NaN;
    CircuitMeasures none = new CircuitMeasures(nan, nan, nan, nan);
    assertThat(new CircuitTable(10, MODEL, EMPTY).row(5, none, none).toString())
        .containsPattern("5 +50 % +NaN +- +NaN +NaN % +- +NaN\n");
    assertThat(new CircuitTable(10, MODEL, MODEL).row(5, MODEL, null).toString())
        .containsPattern("5 +50 % +4.500 +- ");
  }
}
