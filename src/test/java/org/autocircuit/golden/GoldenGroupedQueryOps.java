package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.Random;
import org.autocircuit.AnswerLoss;
import org.autocircuit.MaskGradientResult;
import org.autocircuit.ModelInput;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;

/**
 * Operations on which the reference fails because its grouped-query model has fewer keys and values
 * than its graph has destinations for them. Here they have a destination for each key/value head,
 * and patching those is patching all the query heads of a group alike in the ungrouped graph, whose
 * results another case compares with the reference's.
 */
final class GoldenGroupedQueryOps {

  private GoldenGroupedQueryOps() {}

  static void patched(GoldenModel grouped, GoldenOp op) {
    try (GoldenModel ungrouped = new GoldenModel(grouped.golden(), true)) {
      ModelGraph graph = grouped.graph();
      double[] masks = new Random(op.id()).doubles(graph.maskSize()).toArray();
      if (op.name().equals("patch_mask_all_ones")) {
        Arrays.fill(masks, 1);
      }
      MaskFn maskFn = op.param("mask_fn").asText().equals("sigmoid") ? MaskFn.SIGMOID : MaskFn.NONE;
      MaskGradientResult actual = run(grouped, op, masks, maskFn);
      MaskGradientResult expected = run(ungrouped, op, repeated(ungrouped.graph(), masks), maskFn);
      assertClose(
          op, TensorArrays.doubles(actual.logits()), TensorArrays.doubles(expected.logits()));
      assertClose(
          op,
          TensorArrays.doubles(actual.gradient()),
          summed(ungrouped.graph(), graph, TensorArrays.doubles(expected.gradient())));
      if (op.name().equals("patch_mask_all_ones")) {
        Tensor corrupt = grouped.model().forward(grouped.input("corrupt", 0));
        assertClose(op, TensorArrays.doubles(actual.logits()), TensorArrays.doubles(corrupt));
      }
    }
  }

  private static MaskGradientResult run(GoldenModel g, GoldenOp op, double[] masks, MaskFn maskFn) {
    try (SourceActivations corrupt =
        g.model().sourceAblations(g.input("corrupt", 0), AblationType.RESAMPLE)) {
      PatchContext context =
          PatchContext.builder(corrupt, Masks.of(g.graph(), masks)).maskFn(maskFn).build();
      AnswerLoss loss =
          AnswerLoss.of(
              AnswerLoss.GradFunction.LOGIT,
              AnswerLoss.AnswerFunction.AVG_DIFF,
              g.tokens("data/answers", 0),
              g.tokens("data/wrong_answers", 0));
      ModelInput clean = ModelInput.of(g.input("clean", 0));
      return g.model()
          .maskGradient(
              op.hasInput("attention_mask")
                  ? clean.withAttentionMask(g.tensor(op.input("attention_mask")))
                  : clean,
              context,
              loss);
    }
  }

  /** Index in the grouped graph of each mask of the ungrouped one. */
  private static int[] groupedIndices(ModelGraph ungrouped, ModelGraph grouped) {
    int[] indices = new int[ungrouped.maskSize()];
    for (DestModule all : ungrouped.destModules()) {
      DestModule few = grouped.destModule(all.moduleName());
      int rows = Math.max(all.rows(), 1);
      int perGroup = rows / Math.max(few.rows(), 1);
      int n = all.nSrcs();
      for (int row = 0; row < rows; row++) {
        for (int src = 0; src < n; src++) {
          indices[all.offset() + row * n + src] = few.offset() + row / perGroup * n + src;
        }
      }
    }
    return indices;
  }

  private static double[] repeated(ModelGraph ungrouped, double[] masks) {
    ModelGraph grouped = ModelGraph.of(ungrouped.config(), true, true);
    assertThat(ungrouped.maskSize()).isGreaterThan(grouped.maskSize());
    int[] indices = groupedIndices(ungrouped, grouped);
    double[] repeated = new double[indices.length];
    for (int i = 0; i < indices.length; i++) {
      repeated[i] = masks[indices[i]];
    }
    return repeated;
  }

  private static double[] summed(ModelGraph ungrouped, ModelGraph grouped, double[] gradient) {
    int[] indices = groupedIndices(ungrouped, grouped);
    double[] sum = new double[grouped.maskSize()];
    for (int i = 0; i < indices.length; i++) {
      sum[indices[i]] += gradient[i];
    }
    return sum;
  }

  private static void assertClose(GoldenOp op, double[] actual, double[] expected) {
    assertThat(actual).as(op.toString()).hasSameSizeAs(expected);
    for (int i = 0; i < actual.length; i++) {
      assertThat(actual[i])
          .as("%s: value %d", op, i)
          .isCloseTo(expected[i], within(1e-4 + 1e-4 * Math.abs(expected[i])));
    }
  }
}
