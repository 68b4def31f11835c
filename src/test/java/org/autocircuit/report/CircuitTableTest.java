package org.autocircuit.report;

import static org.assertj.core.api.Assertions.assertThat;

import org.autocircuit.eval.CircuitMeasures;
import org.junit.jupiter.api.Test;

class CircuitTableTest {

  private static final CircuitMeasures MODEL = new CircuitMeasures(4.5, 0, 0.98, 1);

  @Test
  void putsRandomCircuitsBesideTheCircuit() {
    CircuitTable table =
        new CircuitTable(32_491, MODEL)
            .row(0, new CircuitMeasures(-4.4, 6.25, 0, 0), null)
            .row(162, new CircuitMeasures(4, 0.5, 0.9, 1), new CircuitMeasures(-4.25, 6, 0.1, 0))
            .row(32_491, MODEL, null);
    assertThat(table)
        .hasToString(
            """
                             --------- circuit ----------     ----- random circuits ------
               edges  share  logit diff      KL  accuracy     logit diff      KL  accuracy
                   0    0 %      -4.400  6.2500     0.0 %
                 162  0.5 %       4.000  0.5000    90.0 %         -4.250  6.0000    10.0 %
              32,491  100 %       4.500  0.0000    98.0 %
               model              4.500  0.0000    98.0 %
            """);
    assertThat(table.toString().lines()).allMatch(line -> line.length() <= 80);
  }

  @Test
  void whatIsNoNumberIsPrintedAsNone() {
    double nan = Double.NaN;
    CircuitMeasures none = new CircuitMeasures(nan, nan, nan, nan);
    assertThat(new CircuitTable(10, MODEL).row(5, none, none).toString())
        .containsPattern("5 +50 % +NaN +NaN +NaN % +NaN +NaN +NaN %\n");
  }
}
