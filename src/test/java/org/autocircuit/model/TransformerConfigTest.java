package org.autocircuit.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import org.junit.jupiter.api.Test;

class TransformerConfigTest {

  private static TransformerConfig.Builder small() {
    return TransformerConfig.builder().nLayers(2).dModel(16).nHeads(4).dVocab(101).nCtx(32);
  }

  @Test
  void builderDerivesTheUsualSizes() {
    TransformerConfig config = small().build();
    assertThat(config)
        .isEqualTo(new TransformerConfig(2, 16, 4, 4, 64, 101, 32, 1e-5, "gelu_new"))
        .isEqualTo(config.toBuilder().build());
    assertThat(small().dHead(3).dMlp(20).build())
        .isEqualTo(new TransformerConfig(2, 16, 4, 3, 20, 101, 32, 1e-5, "gelu_new"));
  }

  @Test
  void describesItselfToNativeCode() {
    assertThat(small().dMlp(32).build().nativeDescription())
        .isEqualTo(
            """
            kind=transformer
            n_layers=2
            d_model=16
            n_heads=4
            d_head=4
            d_mlp=32
            d_vocab=101
            n_ctx=32
            eps=1.0E-5
            act_fn=gelu_new
            """);
    assertThat(new MicroModelConfig(2).nativeDescription())
        .isEqualTo("kind=micro\nn_layers=2\nn_heads=2\nd_model=2\n");
  }

  @Test
  void namesTheBadSetting() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> small().nLayers(0).build())
        .withMessage("nLayers must be positive, got 0");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> TransformerConfig.builder().nLayers(1).build())
        .withMessageContaining("dModel");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> small().nHeads(3).build())
        .withMessageContaining("nHeads must divide dModel");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> small().eps(Double.NaN).build())
        .withMessageContaining("eps");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> small().activation("swish").build())
        .withMessageContaining("swish")
        .withMessageContaining("gelu_new");
    assertThatIllegalArgumentException().isThrownBy(() -> new MicroModelConfig(0));
  }
}
