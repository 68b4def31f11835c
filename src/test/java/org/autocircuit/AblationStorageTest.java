package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Tests that values that repeat along the batch, or are zero, are stored once. */
@ExtendWith(NativeScope.class)
class AblationStorageTest {

  private static final int BATCH = 5;
  private static final int SEQ = 4;
  private static final int D_MODEL = TestModels.CONFIG.dModel();

  private final List<PromptPairBatch> batches =
      List.of(TestModels.batch(BATCH, SEQ, 10), TestModels.batch(BATCH - 2, SEQ, 20));

  private SourceActivations ablations(PatchableModel model, Ablation type) {
    return type instanceof DatasetAblation ofAll
        ? model.sourceAblations(batches, ofAll)
        : model.sourceAblations(batches.get(0).corrupt(), (BatchAblation) type);
  }

  @ParameterizedTest
  @MethodSource("org.autocircuit.patch.Ablation#values")
  void isAsLargeAsWhatItHolds(Ablation type) {
    for (Precision precision : Precision.values()) {
      try (PatchableModel model =
              TestModels.patchable(precision, PatchableModelOptions.defaults());
          SourceActivations activations = ablations(model, type)) {
        int sources = model.graph().srcs().size();
        long values =
            type == BatchAblation.ZERO
                ? 1
                : (long) sources
                    * D_MODEL
                    * (type == BatchAblation.RESAMPLE ? BATCH : 1)
                    * (type == BatchAblation.BATCH_ALL_TOK_MEAN ? 1 : SEQ);
        Tensor tensor = activations.tensor();
        assertThat(tensor.scalar_type().intern()).isEqualTo(precision.scalarType());
        assertThat(tensor.storage().nbytes())
            .as("bytes of %s in %s", type, precision)
            .isEqualTo(values * tensor.element_size());
      }
    }
  }

  /** Expanded or not, recorded for backward or not, a pass is the same. */
  @ParameterizedTest
  @MethodSource("org.autocircuit.patch.Ablation#values")
  void patchesLikeACopyForEachExample(Ablation type) {
    try (PatchableModel model =
            TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults());
        SourceActivations once = ablations(model, type)) {
      Tensor whole =
          once.tensor().expand(model.graph().srcs().size(), BATCH, SEQ, D_MODEL).contiguous();
      Tensor tokens = TensorArrays.of(batches.get(0).clean(), "tokens", TestDevice.NAME);
      Masks masks = Masks.of(model.graph(), RandomModels.masks(model.graph(), 1));
      try (SourceActivations each = SourceActivations.of(whole)) {
        for (boolean grad : new boolean[] {false, true}) {
          ForwardRequest request = ForwardRequest.of(tokens).withGrad(grad);
          Close.assertClose(
              type + " recorded " + grad,
              model.forward(request.withContext(PatchContext.of(once, masks))).logits(),
              model.forward(request.withContext(PatchContext.of(each, masks))).logits(),
              1e-14);
        }
      }
    }
  }

  @Test
  void givesBackWhatItRemembers() {
    try (PatchableModel model =
        TestModels.patchable(Precision.FLOAT64, PatchableModelOptions.defaults())) {
      SourceActivations activations = ablations(model, BatchAblation.RESAMPLE);
      Tensor tokens = TensorArrays.of(batches.get(0).clean(), "tokens", TestDevice.NAME);
      Masks circuit = Masks.uniform(model.graph(), 1);
      Tensor before = model.forward(tokens, PatchContext.of(activations, circuit));
      activations.trim();
      Tensor after = model.forward(tokens, PatchContext.of(activations, circuit));
      Close.assertClose("trimmed", after, before, 1e-14);
      activations.close();
      assertThatIllegalStateException().isThrownBy(activations::trim);
    }
  }

  /** 16-bit floats are summed in 32 bits: of many equal rows the mean is the row itself. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void meansOf16BitFloatsAreRoundedOnce(boolean ofDataset) {
    long[][] same = new long[32][];
    Arrays.fill(same, TestModels.tokens(1, SEQ, 3)[0]);
    List<PromptPairBatch> equal = Collections.nCopies(12, TestModels.batch(same, same, 1));
    for (Precision precision : List.of(Precision.BFLOAT16, Precision.FLOAT16)) {
      try (PatchableModel model =
              TestModels.patchable(precision, PatchableModelOptions.defaults());
          SourceActivations one = model.sourceAblations(same, BatchAblation.RESAMPLE);
          SourceActivations mean =
              ofDataset
                  ? model.sourceAblations(equal, DatasetAblation.TOKENWISE_MEAN_CLEAN)
                  : model.sourceAblations(same, BatchAblation.BATCH_TOKENWISE_MEAN)) {
        assertThat(TensorArrays.doubles(mean.tensor().select(1, 0).to(ScalarType.Double)))
            .containsExactly(
                TensorArrays.doubles(one.tensor().select(1, 0).to(ScalarType.Double)), within(0.0));
      }
    }
  }
}
