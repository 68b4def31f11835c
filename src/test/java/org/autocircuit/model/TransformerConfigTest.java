package org.autocircuit.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.Map;
import org.autocircuit.RandomModels;
import org.junit.jupiter.api.Test;

class TransformerConfigTest {

  private static TransformerConfig.Builder small() {
    return TransformerConfig.builder().nLayers(2).dModel(16).nHeads(4).dVocab(101).nCtx(32);
  }

  @Test
  void builderDerivesTheUsualSizes() {
    TransformerConfig config = small().build();
    assertThat(config)
        .isEqualTo(RandomModels.config(2, 16, 4, 4, 64, 101, 32))
        .isEqualTo(config.toBuilder().build());
    assertThat(small().dHead(3).dMlp(20).build())
        .isEqualTo(RandomModels.config(2, 16, 4, 3, 20, 101, 32));
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
        .isThrownBy(() -> small().activation("swosh").build())
        .withMessageContaining("swosh")
        .withMessageContaining("gelu_new");
    assertThatIllegalArgumentException().isThrownBy(() -> new MicroModelConfig(0));
  }

  @Test
  void describesWhatGpt2DoesNotHave() {
    TransformerConfig gemma =
        small()
            .nKeyValueHeads(2)
            .norm(Norm.rmsNorm(1e-6).withWeightOffset(1))
            .postNorms(true)
            .rotary(RotaryPositions.halves(4).withScaling(new RotaryPositions.Llama3(8, 1, 4, 16)))
            .attentionScores(
                AttentionScores.PLAIN.withScale(0.25).withSoftCap(50).withWindow(8, 2).withQkNorm())
            .gatedMlp(true)
            .biases(Biases.NONE)
            .embedScale(4)
            .logitSoftCap(30)
            .build();
    assertThat(gemma.toBuilder().build()).isEqualTo(gemma);
    assertThat(gemma.nativeDescription().lines().skip(10))
        .containsExactly(
            "n_key_value_heads=2",
            "norm=rms_norm",
            "norm_weight_offset=1.0",
            "positions=rotary",
            "rotary_dim=4",
            "rotary_base=10000.0",
            "rotary_pairs=half",
            "rotary_scaling=llama3",
            "rotary_factor=8.0",
            "rotary_low_freq_factor=1.0",
            "rotary_high_freq_factor=4.0",
            "rotary_original_n_ctx=16",
            "attn_scale=0.25",
            "attn_soft_cap=50.0",
            "window=8",
            "window_every=2",
            "qk_norm=true",
            "no_qkv_bias=true",
            "no_attn_output_bias=true",
            "no_mlp_bias=true",
            "gated_mlp=true",
            "post_norms=true",
            "embed_scale=4.0",
            "logit_soft_cap=30.0");
    TransformerConfig gptj =
        small()
            .blockKind(BlockKind.PARALLEL)
            .rotary(RotaryPositions.adjacent(2).withScaling(new RotaryPositions.Linear(2)))
            .build();
    assertThat(gptj.nativeDescription())
        .endsWith(
            """
            positions=rotary
            rotary_dim=2
            rotary_base=10000.0
            rotary_pairs=adjacent
            rotary_scaling=linear
            rotary_factor=2.0
            parallel_attn_mlp=true
            """);
  }

  @Test
  void describesAutoencoders() {
    TransformerConfig config =
        small()
            .autoencoders(
                AutoencoderConfig.of(Map.of(1, 300, 0, 0)).withSeqLen(5).withErrorNodes(true))
            .build();
    assertThat(config.toBuilder().build()).isEqualTo(config);
    assertThat(config.toBuilder().withoutAutoencoders().build()).isEqualTo(small().build());
    assertThat(config.nativeDescription())
        .endsWith(
            """
            autoencoder_latents.0=0
            autoencoder_latents.1=300
            autoencoder_positions=5
            autoencoder_errors=true
            """);
    assertThat(small().autoencoders(AutoencoderConfig.of(Map.of(0, 3))).build().nativeDescription())
        .endsWith("gelu_new\nautoencoder_latents.0=3\n");
  }

  @Test
  void attentionOnlyModelsHaveNoMlp() {
    TransformerConfig config = small().blockKind(BlockKind.ATTENTION_ONLY).dMlp(32).build();
    assertThat(config.dMlp()).isZero();
    assertThat(config.hasMlp()).isFalse();
    assertThat(config.nativeDescription())
        .contains("attn_only=true")
        .doesNotContain("d_mlp", "act_fn");
    assertThat(config.toBuilder().build()).isEqualTo(config);
  }

  @Test
  void namesSettingsThatDoNotGoTogether() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> small().nKeyValueHeads(3).build())
        .withMessage("nKeyValueHeads must divide nHeads, got 3 and 4");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> small().rotary(RotaryPositions.halves(6)).build())
        .withMessage("rotary dims must be at most dHead, got 6 and 4");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> RotaryPositions.halves(3))
        .withMessageContaining("even");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> small().postNorms(true).build())
        .withMessageContaining("RMS norm");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> small().norm(Norm.rmsNorm(1e-6)).postNorms(true).build())
        .withMessageContaining("attention output");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> small().blockKind(BlockKind.ATTENTION_ONLY).gatedMlp(true).build())
        .withMessageContaining("gatedMlp");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> AttentionScores.PLAIN.withWindow(0))
        .withMessage("window must be positive, got 0");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> small().logitSoftCap(-1).build())
        .withMessageContaining("logitSoftCap");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new RotaryPositions.Llama3(8, 4, 4, 16))
        .withMessageContaining("highFreqFactor");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Norm.layerNorm(1e-5).withoutWeights().withWeightOffset(1))
        .withMessageContaining("weightOffset");
  }
}
