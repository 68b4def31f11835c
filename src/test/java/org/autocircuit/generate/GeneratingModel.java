package org.autocircuit.generate;

import java.util.function.Consumer;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.RandomModels;
import org.autocircuit.model.Activation;
import org.autocircuit.model.AttentionScores;
import org.autocircuit.model.Biases;
import org.autocircuit.model.Norm;
import org.autocircuit.model.Precision;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Models of 32 bits that differ in what generation has to get right. */
enum GeneratingModel {
  /** Learned positions, a head for each key. */
  GPT2 {
    @Override
    void use(Precision precision, Consumer<PatchableModel> body) {
      TransformerConfig config = RandomModels.config(2, 24, 4, 6, 40, 61, 230);
      try (PatchableModel model =
          RandomModels.patchable(config, precision, PatchableModelOptions.defaults(), 3)) {
        body.accept(model);
      }
    }
  },
  /** Rotary positions, two heads for each key. */
  LLAMA {
    @Override
    void use(Precision precision, Consumer<PatchableModel> body) {
      try (PatchableModel model = RandomModels.patchableOfAnyKind(llama().build(), precision, 4)) {
        body.accept(model);
      }
    }
  },
  /** The same, where the first and the third block see nine tokens. */
  WINDOWS {
    @Override
    void use(Precision precision, Consumer<PatchableModel> body) {
      TransformerConfig config =
          llama().nLayers(3).attentionScores(AttentionScores.PLAIN.withWindow(9, 2)).build();
      try (PatchableModel model = RandomModels.patchableOfAnyKind(config, precision, 5)) {
        body.accept(model);
      }
    }
  },
  /** A trained one. */
  EMBEDDED {
    @Override
    void use(Precision precision, Consumer<PatchableModel> body) {
      try (TextModel text = ExampleModel.open()) {
        body.accept(text.model());
      }
    }
  };

  private static TransformerConfig.Builder llama() {
    return TransformerConfig.builder()
        .nLayers(2)
        .dModel(24)
        .nHeads(4)
        .nKeyValueHeads(2)
        .dHead(6)
        .dMlp(40)
        .dVocab(61)
        .nCtx(230)
        .norm(Norm.rmsNorm(1e-5))
        .rotary(RotaryPositions.halves(6))
        .activation(Activation.SILU)
        .gatedMlp(true)
        .biases(Biases.NONE);
  }

  /** Opens it; the trained one has a precision of its own. */
  abstract void use(Precision precision, Consumer<PatchableModel> body);
}
