package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.autocircuit.NativeScope;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.TransformerLensWeights;
import org.autocircuit.sae.LatentPruning;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Latents pruned by their activity: the reference's model before, and what is left of it. */
@ExtendWith(NativeScope.class)
class GoldenPruningTest {

  private static final String AUTOENCODER = ".hook_mlp_out.";

  static List<GoldenCase> cases() {
    return GoldenCase.all().stream()
        .filter(golden -> !golden.byModule("weights_before_sae_prune").isEmpty())
        .toList();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void theSameLatentsAreLeftInTheSameOrder(GoldenCase golden) {
    try (GoldenModel after = new GoldenModel(golden);
        Model before = before(golden, after)) {
      JsonNode options = golden.json().get("sae");
      LatentPruning.Builder pruning =
          LatentPruning.builder()
              .includeCorrupt(options.path("include_corrupt").asBoolean())
              .perPosition(options.path("per_seq").asBoolean());
      if (options.path("max_latents").isInt()) {
        pruning.maxLatents(options.get("max_latents").asInt());
      }
      try (Model pruned = pruning.build().prune(before, after.promptPairs())) {
        assertThat(pruned.config()).isEqualTo(golden.config());
        Map<String, Tensor> weights = pruned.weights();
        golden
            .byModule("weights")
            .forEach(
                (name, expected) -> {
                  if (name.contains(AUTOENCODER)) {
                    assertThat(weights.get(name).shape()).isEqualTo(expected.shape());
                    assertThat(TensorArrays.doubles(weights.get(name)))
                        .as(name)
                        .isEqualTo(expected.doubles());
                  }
                });
      }
    }
  }

  private static Model before(GoldenCase golden, GoldenModel tensors) {
    TransformerConfig plain =
        ((TransformerConfig) golden.config()).toBuilder().withoutAutoencoders().build();
    Map<String, Tensor> weights = new LinkedHashMap<>();
    Map<String, Tensor> autoencoders = new LinkedHashMap<>();
    golden
        .byModule("weights_before_sae_prune")
        .forEach(
            (name, weight) ->
                (name.contains(AUTOENCODER) ? autoencoders : weights)
                    .put(name, tensors.tensor(weight)));
    try (Model model = Model.of(plain, TransformerLensWeights.toCanonical(plain, weights))) {
      return model.withAutoencoders(autoencoders, false);
    }
  }
}
