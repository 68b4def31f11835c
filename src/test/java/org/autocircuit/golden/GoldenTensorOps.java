package org.autocircuit.golden;

import static org.autocircuit.golden.GoldenComparison.assertActivations;

import java.util.Map;
import java.util.function.Consumer;
import org.autocircuit.TestDevice;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchWrapper;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The reference's small functions that need no model. */
final class GoldenTensorOps {

  static final Map<String, Consumer<GoldenOp>> OPERATIONS =
      Map.of(
          "sample_hard_concrete", GoldenTensorOps::sampleHardConcrete,
          "answer_ops", GoldenCircuitOps::answerOps,
          "multibatch_kl_div", GoldenCircuitOps::multibatchKlDiv,
          "measurements_auc", GoldenEvaluationOps::measurementsAuc,
          "prune_scores_threshold", GoldenEvaluationOps::thresholds);

  private GoldenTensorOps() {}

  private static void sampleHardConcrete(GoldenOp op) {
    try (PointerScope scope = new PointerScope()) {
      Tensor mask = tensor(op.input("mask"));
      Tensor uniforms = tensor(op.input("u"));
      int batch = op.param("batch_size").asInt();
      int shared = (int) mask.dim() - (op.param("mask_expanded").asBoolean() ? 1 : 0);
      Tensor samples =
          PatchWrapper.applyMaskFn(
              PatchWrapper.Mask.of(mask, shared >= 2, shared == 3)
                  .withMaskFn(MaskFn.HARD_CONCRETE)
                  .withNoise(Noise.uniforms(uniforms)),
              batch);
      assertActivations(op, "sample", samples, op.output("sample"));
    }
  }

  private static Tensor tensor(GoldenTensor tensor) {
    return TensorArrays.of(
        tensor.doubles(),
        tensor.dtype().equals("F64") ? ScalarType.Double : ScalarType.Float,
        TestDevice.NAME,
        tensor.shape());
  }
}
