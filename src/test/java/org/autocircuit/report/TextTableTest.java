package org.autocircuit.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import org.junit.jupiter.api.Test;

class TextTableTest {

  @Test
  void alignsColumns() {
    TextTable table = new TextTable().indent(1).left("name").right("n").left("");
    table.row("a", "1,000", "##").row("longer", "1", "");
    assertThat(table).hasToString(" name        n\n a       1,000  ##\n longer      1\n");
  }

  @Test
  void refusesRowsOfAnotherWidth() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new TextTable().left("a").row("1", "2"))
        .withMessage("expected 1 cells, got 2");
  }
}
