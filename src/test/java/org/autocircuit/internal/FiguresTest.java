package org.autocircuit.internal;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class FiguresTest {

  @Test
  void oneIsNoPlural() {
    assertThat(Figures.count(1, "edge")).isEqualTo("1 edge");
    assertThat(Figures.count(0, "edge")).isEqualTo("0 edges");
    assertThat(Figures.count(1519, "edge")).isEqualTo("1,519 edges");
  }

  @Test
  void zeroHasNoMinus() {
    assertThat(Figures.percent(-0.0004, 1)).isEqualTo("0.0 %");
    assertThat(Figures.percent(-0.0006, 1)).isEqualTo("-0.1 %");
    assertThat(Figures.fixed(-0.00004, 4)).isEqualTo("0.0000");
    assertThat(Figures.fixed(-0.4, 0)).isEqualTo("0");
    assertThat(Figures.fixed(Double.NaN, 3)).isEqualTo("NaN");
    assertThat(Figures.orDash(Double.NaN, "NaN")).isEqualTo("-");
    assertThat(Figures.orDash(1, "1.0")).isEqualTo("1.0");
  }
}
