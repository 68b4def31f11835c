package org.autocircuit.patch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import org.junit.jupiter.api.Test;

class AblationTest {

  /** Files of circuits and the Python original know them by these names. */
  @Test
  void ablationsHaveTheOriginalsNames() {
    assertThat(Ablation.values())
        .extracting(Ablation::name)
        .containsExactly(
            "RESAMPLE",
            "ZERO",
            "BATCH_TOKENWISE_MEAN",
            "BATCH_ALL_TOK_MEAN",
            "TOKENWISE_MEAN_CLEAN",
            "TOKENWISE_MEAN_CORRUPT",
            "TOKENWISE_MEAN_CLEAN_AND_CORRUPT");
    Ablation.values().forEach(each -> assertThat(Ablation.named(each.name())).isSameAs(each));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Ablation.named("MEAN"))
        .withMessageContainingAll("'MEAN'", "[RESAMPLE, ZERO");
  }
}
