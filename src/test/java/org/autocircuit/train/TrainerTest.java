package org.autocircuit.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.Threads;
import org.autocircuit.data.TrainingBatch;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class TrainerTest {

  private static final TransformerConfig CONFIG =
      TransformerConfig.builder().nLayers(2).dModel(16).nHeads(2).dVocab(11).nCtx(8).build();

  private static final TrainingBatch BATCH =
      new TrainingBatch(
          new long[][] {{0, 3, 5, 7}, {0, 4, 6, 0}},
          new long[][] {{3, 5, 7, 9}, {4, 6, 0, TrainingBatch.IGNORED}});

  private static final float[][] WEIGHTS = {{1, 1, 1, 3}, {1, 3, 1, 0}};

  private int threads;

  @BeforeEach
  void oneThread() {
    threads = Threads.get();
    Threads.set(1);
  }

  @AfterEach
  void restoreThreads() {
    Threads.set(threads);
  }

  @Test
  void learnsABatchByHeart() {
    try (PatchableModel model = model();
        Trainer trainer = new Trainer(model, 0)) {
      double first = trainer.step(BATCH, WEIGHTS, 1e-2);
      double last = 0;
      for (int i = 0; i < 120; i++) {
        last = trainer.step(BATCH, WEIGHTS, 1e-2);
      }
      assertThat(first).isBetween(1.5, 4.0);
      // Both rows begin alike, so of their first tokens only even odds can be learned.
      assertThat(last).isCloseTo(2 * Math.log(2) / 11, within(0.01));
      float[][] logits = model.logits(new long[][] {{0, 3, 5, 7}}, PatchContext.NONE);
      assertThat(logits[0][9]).isEqualTo(max(logits[0]));
    }
  }

  @Test
  void theLossIsTheWeightedMeanOfCrossEntropies() {
    long[][] tokens = {{0, 3}, {0, 4}};
    TrainingBatch batch =
        new TrainingBatch(tokens, new long[][] {{TrainingBatch.IGNORED, 5}, {7, 6}});
    try (PatchableModel model = model();
        Trainer trainer = new Trainer(model, 0)) {
      float[][] last = model.logits(tokens, PatchContext.NONE);
      float[][] first = model.logits(new long[][] {{0}}, PatchContext.NONE);
      double expected =
          (2 * crossEntropy(last[0], 5) + 3 * crossEntropy(last[1], 6) + crossEntropy(first[0], 7))
              / 6;
      assertThat(trainer.step(batch, new float[][] {{0, 2}, {1, 3}}, 1e-3))
          .isCloseTo(expected, within(1e-5));
    }
  }

  @Test
  void changesEveryWeightAndLeavesNoGradientBehind() {
    try (PatchableModel model = model();
        CallScope scope = new CallScope()) {
      Map<String, double[]> before = values(model);
      try (Trainer trainer = new Trainer(model, 0.01)) {
        trainer.step(BATCH, WEIGHTS, 1e-2);
        trainer.step(BATCH, WEIGHTS, 1e-2);
      }
      values(model)
          .forEach((name, values) -> assertThat(values).as(name).isNotEqualTo(before.get(name)));
      for (Tensor weight : model.weights().values()) {
        assertThat(weight.requires_grad()).isFalse();
        assertThat(weight.grad().defined()).isFalse();
      }
    }
  }

  @Test
  void aLossThatIsNotFiniteChangesNoWeight() {
    try (PatchableModel model = model();
        Trainer trainer = new Trainer(model, 0.1);
        CallScope scope = new CallScope()) {
      Tensor scale = model.weights().get("ln_final.w");
      double[] embedding = TensorArrays.doubles(model.weights().get("embed.W_E"));
      scale.detach().fill_(new Scalar(Double.NaN));
      assertThatThrownBy(() -> trainer.step(BATCH, WEIGHTS, 1e-2))
          .isInstanceOf(NotFiniteException.class)
          .hasMessageContaining("losses are not finite");
      assertThat(TensorArrays.doubles(model.weights().get("embed.W_E"))).isEqualTo(embedding);
    }
  }

  @Test
  void refusesWhatDoesNotFit() {
    try (PatchableModel model = model()) {
      Trainer trainer = new Trainer(model, 0);
      assertThatThrownBy(() -> trainer.step(BATCH, new float[][] {{1, 1, 1, 1}}, 1e-3))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("weights: expected 2 rows, got 1");
      assertThatThrownBy(() -> trainer.step(BATCH, new float[][] {{1, 1, 1, 1}, {1}}, 1e-3))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("weights: expected rows of 4 values, got 1 in row 1");
      trainer.close();
      trainer.close();
      assertThatThrownBy(() -> trainer.step(BATCH, WEIGHTS, 1e-3))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageEndingWith("is closed");
    }
  }

  private static PatchableModel model() {
    try (CallScope scope = new CallScope();
        Model model = Model.of(CONFIG, InitialWeights.of(CONFIG, 5))) {
      return PatchableModel.of(model, PatchableModelOptions.defaults());
    }
  }

  private static Map<String, double[]> values(PatchableModel model) {
    Map<String, double[]> values = new TreeMap<>();
    model.weights().forEach((name, weight) -> values.put(name, TensorArrays.doubles(weight)));
    return values;
  }

  private static double crossEntropy(float[] logits, int target) {
    double sum = 0;
    for (float logit : logits) {
      sum += Math.exp(logit);
    }
    return Math.log(sum) - logits[target];
  }

  private static float max(float[] values) {
    float[] sorted = values.clone();
    Arrays.sort(sorted);
    return sorted[sorted.length - 1];
  }
}
