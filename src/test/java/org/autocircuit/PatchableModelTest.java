package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.mode.MaskBatchSize;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;

class PatchableModelTest {

  private static final PatchableModelOptions OPTIONS = PatchableModelOptions.defaults();

  @Test
  void maskZeroIsThePlainModelAndMaskOneTheAblatedOne() {
    for (boolean factorized : new boolean[] {true, false}) {
      try (PatchableModel model =
              TestModels.patchable(Precision.FLOAT64, OPTIONS.withFactorized(factorized));
          PointerScope scope = new PointerScope()) {
        Tensor clean = TestModels.tokenTensor(3, 6, 10);
        Tensor corrupt = TestModels.tokenTensor(3, 6, 11);
        try (SourceActivations patch = model.sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
          Tensor none = model.forward(clean, context(model, patch, 0));
          Tensor all = model.forward(clean, context(model, patch, 1));
          assertClose(none, model.forward(clean), 1e-12);
          assertClose(all, model.forward(corrupt), 1e-12);
        }
      }
    }
  }

  @Test
  void behindAWarmUpPassesOfItsSizeTakeNoMemoryFromTheSystem() {
    long limit = Workspaces.limit();
    try (PatchableModel model = TestModels.patchable()) {
      Workspaces.setLimit(0);
      long before = Workspaces.bytes();
      Workspaces.setLimit(limit);
      model.warmUp(512, 6);
      long warm = Workspaces.bytes();
      assertThat(warm).isGreaterThan(before);
      model.logits(TestModels.tokens(512, 6, 1));
      assertThat(Workspaces.bytes()).isEqualTo(warm);
      assertThatIllegalArgumentException().isThrownBy(() -> model.warmUp(1, 1 << 20));
    } finally {
      Workspaces.setLimit(limit);
    }
  }

  @Test
  void scopesAndContextsGiveTheSame() {
    try (PatchableModel model = TestModels.patchable();
        PointerScope scope = new PointerScope()) {
      Tensor tokens = TestModels.tokenTensor(2, 5, 1);
      EdgeSet circuit = TestModels.circuit(model.graph(), 0.3, 5);
      List<String> names = circuit.edges().stream().map(Edge::name).toList();
      try (SourceActivations patch =
          model.sourceAblations(TestModels.tokens(2, 5, 2), BatchAblation.RESAMPLE)) {
        PatchContext context = PatchContext.of(patch, Masks.ofEdges(circuit));
        Tensor expected = model.forward(tokens, context);
        List<Tensor> patched = new ArrayList<>();
        try (PatchMode mode = model.patchMode(patch, circuit)) {
          patched.add(model.forward(tokens));
          assertThat(torch.equal(model.forward(tokens, PatchContext.NONE), expected)).isFalse();
        }
        model.masks().setEdges(circuit);
        try (PatchMode mode = model.patchMode(patch)) {
          patched.add(model.forward(tokens));
        }
        model.masks().setAll(0);
        try (PatchMode mode = model.patchMode(patch, circuit.edges())) {
          patched.add(model.forward(tokens));
        }
        try (PatchMode mode = model.patchModeByName(patch, names)) {
          patched.add(model.forward(tokens));
        }
        try (PatchMode mode = model.patchMode(patch, Masks.ofEdges(circuit))) {
          patched.add(model.forward(tokens));
          assertThat(model.masks().toArray()).containsOnly(0);
        }
        assertThat(patched).allMatch(logits -> torch.equal(logits, expected));
        assertThat(torch.equal(model.forward(tokens), expected)).isFalse();
      }
    }
  }

  @Test
  void plainArraysGiveTheLogitsOfTheLastPosition() {
    try (PatchableModel model =
            TestModels.patchable(Precision.FLOAT32, OPTIONS.withOutputSlice(OutputSlice.ALL));
        PointerScope scope = new PointerScope()) {
      long[][] tokens = TestModels.tokens(2, 5, 1);
      Tensor all = model.forward(TensorArrays.of(tokens, "tokens", TestDevice.NAME));
      assertThat(all.shape()).containsExactly(2, 5, 31);
      float[] expected = TensorArrays.floats(all.select(1, 4));
      float[][] logits = model.logits(tokens);
      assertThat(logits).hasDimensions(2, 31);
      for (int i = 0; i < expected.length; i++) {
        assertThat(logits[i / 31][i % 31]).isCloseTo(expected[i], within(1e-5f));
      }
    }
  }

  @Test
  void outputSlices() {
    try (PatchableModel model = TestModels.patchable();
        PointerScope scope = new PointerScope()) {
      ForwardRequest request = ForwardRequest.of(TestModels.tokenTensor(2, 5, 1));
      Tensor all = model.forward(request.withOutputSlice(OutputSlice.ALL)).logits();
      Tensor last = model.forward(request).logits();
      Tensor notFirst = model.forward(request.withOutputSlice(OutputSlice.NOT_FIRST_SEQ)).logits();
      assertClose(last, all.select(1, 4), 1e-5);
      assertClose(notFirst, all.narrow(1, 1, 4), 1e-5);
    }
  }

  @Test
  void readsAndSourceOutputs() {
    try (PatchableModel model = TestModels.patchable();
        PointerScope scope = new PointerScope()) {
      Tensor tokens = TestModels.tokenTensor(2, 5, 1);
      ForwardResult result =
          model.forward(ForwardRequest.of(tokens).withSourceOutputs().withReads(model.hookNames()));
      assertThat(result.reads().keySet()).containsExactlyElementsOf(model.hookNames());
      try (SourceActivations clean = model.sourceAblations(tokens, BatchAblation.RESAMPLE)) {
        assertClose(result.sourceOutputs().orElseThrow(), clean.tensor(), 1e-6);
      }
      Tensor mlp = result.read("blocks.1.hook_mlp_out");
      int lastSource = model.graph().srcs().size() - 1;
      assertClose(result.sourceOutputs().orElseThrow().select(0, lastSource), mlp, 1e-6);
      assertThat(model.forward(ForwardRequest.of(tokens)).sourceOutputs()).isEmpty();
    }
  }

  @Test
  void startsAtABlock() {
    try (PatchableModel model = TestModels.patchable(Precision.FLOAT64, OPTIONS);
        PointerScope scope = new PointerScope()) {
      Tensor tokens = TestModels.tokenTensor(2, 5, 1);
      ForwardResult clean =
          model.forward(
              ForwardRequest.of(tokens).withSourceOutputs().withReads("blocks.1.hook_resid_pre"));
      ForwardRequest start = ForwardRequest.startingAt(1, clean.read("blocks.1.hook_resid_pre"));
      assertClose(model.forward(start).logits(), clean.logits(), 1e-12);

      EdgeSet late =
          EdgeSet.of(
              model.graph(),
              TestModels.circuit(model.graph(), 0.5, 3).edges().stream()
                  .filter(edge -> edge.dest().layer() > 2)
                  .toList());
      try (SourceActivations patch =
          model.sourceAblations(TestModels.tokens(2, 5, 2), BatchAblation.RESAMPLE)) {
        PatchContext context = PatchContext.of(patch, Masks.ofEdges(late));
        Tensor expected = model.forward(tokens, context);
        Tensor outputs = clean.sourceOutputs().orElseThrow();
        ForwardRequest patched = start.withContext(context).withStartSourceOutputs(outputs);
        assertClose(model.forward(patched).logits(), expected, 1e-12);
        try (SourceActivations before = SourceActivations.of(outputs);
            PatchMode mode = model.patchMode(patch, Masks.ofEdges(late), before)) {
          assertClose(model.forward(start).logits(), expected, 1e-12);
        }
      }
    }
  }

  @Test
  void ablationsOfOneBatch() {
    try (PatchableModel model = TestModels.patchable(Precision.FLOAT64, OPTIONS);
        PointerScope scope = new PointerScope()) {
      Tensor tokens = TestModels.tokenTensor(3, 4, 1);
      Tensor outputs = ablation(model, tokens, BatchAblation.RESAMPLE);
      int sources = model.graph().srcs().size();
      assertThat(outputs.shape()).containsExactly(sources, 3, 4, 16);
      assertThat(TensorArrays.doubles(ablation(model, tokens, BatchAblation.ZERO))).containsOnly(0);
      Tensor batchMean = ablation(model, tokens, BatchAblation.BATCH_TOKENWISE_MEAN);
      assertThat(batchMean.shape()).containsExactly(sources, 3, 4, 16);
      assertClose(batchMean.select(1, 2), mean(outputs, 1).select(1, 0), 1e-12);
      Tensor allMean = ablation(model, tokens, BatchAblation.BATCH_ALL_TOK_MEAN);
      assertClose(allMean.select(1, 1).select(1, 3), mean(outputs, 1, 2).flatten(1, 3), 1e-12);
    }
  }

  @Test
  void meansOverADataSetCountEveryRowOnce() {
    try (PatchableModel model = TestModels.patchable(Precision.FLOAT64, OPTIONS);
        PointerScope scope = new PointerScope()) {
      List<PromptPairBatch> batches =
          List.of(TestModels.batch(3, 4, 10), TestModels.batch(1, 4, 20));
      Tensor clean =
          ablation(
              model,
              rows(batches.get(0).clean(), batches.get(1).clean()),
              BatchAblation.BATCH_TOKENWISE_MEAN);
      Tensor corrupt =
          ablation(
              model,
              rows(batches.get(0).corrupt(), batches.get(1).corrupt()),
              BatchAblation.BATCH_TOKENWISE_MEAN);
      try (SourceActivations cleanMean =
              model.sourceAblations(batches, DatasetAblation.TOKENWISE_MEAN_CLEAN);
          SourceActivations corruptMean =
              model.sourceAblations(batches, DatasetAblation.TOKENWISE_MEAN_CORRUPT);
          SourceActivations both =
              model.sourceAblations(batches, DatasetAblation.TOKENWISE_MEAN_CLEAN_AND_CORRUPT)) {
        assertThat(both.ablation()).contains(DatasetAblation.TOKENWISE_MEAN_CLEAN_AND_CORRUPT);
        assertThat(cleanMean.tensor().size(1)).isEqualTo(1);
        assertClose(cleanMean.tensor().select(1, 0), clean.select(1, 0), 1e-12);
        assertClose(corruptMean.tensor().select(1, 0), corrupt.select(1, 0), 1e-12);
        Tensor half = clean.add(corrupt).mul(new org.bytedeco.pytorch.Scalar(0.5));
        assertClose(both.tensor().select(1, 0), half.select(1, 0), 1e-12);
        Tensor tokens = TestModels.tokenTensor(3, 4, 5);
        try (SourceActivations wide = SourceActivations.of(clean.narrow(1, 0, 3))) {
          assertClose(
              model.forward(tokens, context(model, cleanMean, 0.5)),
              model.forward(tokens, context(model, wide, 0.5)),
              1e-12);
        }
      }
    }
  }

  @Test
  void masksOfEachExample() {
    try (PatchableModel model = TestModels.patchable(Precision.FLOAT64, OPTIONS);
        PointerScope scope = new PointerScope()) {
      Random random = new Random(4);
      long[][] tokens = TestModels.tokens(3, 5, 1);
      double[][] values = new double[3][model.graph().maskSize()];
      for (double[] row : values) {
        Arrays.setAll(row, i -> random.nextDouble());
      }
      try (SourceActivations patch =
          model.sourceAblations(TestModels.tokens(3, 5, 2), BatchAblation.RESAMPLE)) {
        Tensor all =
            model.forward(
                TensorArrays.of(tokens, "tokens", TestDevice.NAME),
                PatchContext.of(patch, Masks.perExample(model.graph(), values)));
        for (int row = 0; row < 3; row++) {
          try (SourceActivations one = SourceActivations.of(patch.tensor().narrow(1, row, 1))) {
            Tensor alone =
                model.forward(
                    TensorArrays.of(new long[][] {tokens[row]}, "tokens", TestDevice.NAME),
                    PatchContext.of(one, Masks.of(model.graph(), values[row])));
            assertClose(all.narrow(0, row, 1), alone, 1e-12);
          }
        }
      }
    }
  }

  @Test
  void edgesOfPositions() {
    try (PatchableModel model = TestModels.patchable(Precision.FLOAT64, OPTIONS.withSeqLen(5));
        PatchableModel plain = TestModels.patchable(Precision.FLOAT64, OPTIONS);
        PointerScope scope = new PointerScope()) {
      Tensor tokens = TestModels.tokenTensor(2, 5, 1);
      List<String> names = List.of("A0.1->MLP 1", "Resid Start->A1.0.K");
      try (SourceActivations patch =
          model.sourceAblations(TestModels.tokens(2, 5, 2), BatchAblation.RESAMPLE)) {
        Tensor expected =
            plain.forward(tokens, PatchContext.of(patch, Masks.ofNames(plain.graph(), names)));
        Tensor everywhere =
            model.forward(tokens, PatchContext.of(patch, Masks.ofNames(model.graph(), names)));
        assertClose(everywhere, expected, 1e-12);
        Masks one = Masks.ofEdges(model.graph(), List.of(model.graph().edge("A0.1->MLP 1", 4)));
        assertThat(torch.equal(model.forward(tokens, PatchContext.of(patch, one)), expected))
            .isFalse();
      }
    }
  }

  @Test
  void theMicroModelRunsOnFloats() {
    for (boolean factorized : new boolean[] {true, false}) {
      try (PatchableModel model =
              TestModels.micro(
                  OPTIONS.withFactorized(factorized).withOutputSlice(OutputSlice.ALL));
          PointerScope scope = new PointerScope()) {
        Random random = new Random(1);
        Tensor clean = TestModels.randomTensor(random, Precision.FLOAT64, 1, 0, 2, 3, 2);
        Tensor corrupt = TestModels.randomTensor(random, Precision.FLOAT64, 1, 0, 2, 3, 2);
        try (SourceActivations patch = model.sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
          assertClose(
              model.forward(clean, context(model, patch, 1)), model.forward(corrupt), 1e-12);
          assertClose(model.forward(clean, context(model, patch, 0)), model.forward(clean), 1e-12);
        }
      }
    }
  }

  @Test
  void theSevenResultsOfGraphEdgesMakeAModelPatchable() {
    try (Model model = TestModels.transformer(Precision.FLOAT64, true, 1);
        PointerScope scope = new PointerScope()) {
      Tensor tokens = TestModels.tokenTensor(2, 5, 1);
      for (boolean factorized : new boolean[] {true, false}) {
        ModelGraph graph = ModelGraph.of(model.config(), factorized, false, 5);
        try (PatchableModel patchable =
            PatchableModel.makeModelPatchable(model, graph.graphEdges(), OutputSlice.LAST_SEQ)) {
          assertThat(patchable.graph()).isEqualTo(graph);
          assertThat(patchable.forward(tokens).shape()).containsExactly(2, 31);
        }
      }
    }
  }

  /** The default masks of what it makes belong to the thread that moved the model. */
  @Test
  void anyThreadMovesAModel() {
    try (PatchableModel model = TestModels.patchable()) {
      model.masks().setAll(0.25);
      model.masks().set(3, 0.75);
      double[] outside = model.masks().toArray();
      try (MaskBatchSize inner = model.setMaskBatchSize(2)) {
        model.masks().setAll(1);
        double[] moved =
            CompletableFuture.supplyAsync(
                    () -> {
                      try (PatchableModel other = model.to(TestDevice.NAME)) {
                        return other.masks().toArray();
                      }
                    })
                .join();
        assertThat(moved).isEqualTo(outside);
      }
    }
  }

  @Test
  void movesToAnotherDeviceWithItsMasks() {
    try (PatchableModel model = TestModels.patchable();
        PointerScope scope = new PointerScope()) {
      model.masks().setAll(0.25);
      try (PatchableModel same = model.to(TestDevice.NAME)) {
        assertThat(same.masks().toArray()).containsOnly(0.25);
        Tensor tokens = TestModels.tokenTensor(2, 5, 1);
        assertThat(torch.equal(same.forward(tokens), model.forward(tokens))).isTrue();
      }
      try (PatchableModel meta = model.to("meta")) {
        assertThat(meta.device()).isEqualTo("meta");
        assertThat(meta.masks().tensor().is_meta()).isTrue();
        Tensor tokens =
            TestModels.tokenTensor(2, 5, 1)
                .to(
                    new org.bytedeco.pytorch.Device("meta"),
                    org.bytedeco.pytorch.global.torch.ScalarType.Long);
        assertThat(meta.forward(tokens).shape()).containsExactly(2, 31);
        try (SourceActivations patch = meta.sourceAblations(tokens, BatchAblation.RESAMPLE);
            PatchMode mode = meta.patchMode(patch)) {
          assertThat(meta.forward(tokens).shape()).containsExactly(2, 31);
        }
      }
    }
  }

  private static PatchContext context(PatchableModel model, SourceActivations patch, double value) {
    return PatchContext.of(patch, Masks.uniform(model.graph(), value));
  }

  private static Tensor ablation(PatchableModel model, Tensor tokens, BatchAblation type) {
    try (SourceActivations activations = model.sourceAblations(tokens, type)) {
      return activations.tensor();
    }
  }

  private static Tensor mean(Tensor tensor, long... dims) {
    return tensor.mean(dims, true, new org.bytedeco.pytorch.ScalarTypeOptional());
  }

  private static Tensor rows(long[][] first, long[][] second) {
    long[][] rows = Arrays.copyOf(first, first.length + second.length);
    System.arraycopy(second, 0, rows, first.length, second.length);
    return TensorArrays.of(rows, "tokens", TestDevice.NAME);
  }

  private static void assertClose(Tensor actual, Tensor expected, double tolerance) {
    try (CallScope scope = new CallScope()) {
      assertThat(actual.shape()).isEqualTo(expected.shape());
      double[] expectedValues = TensorArrays.doubles(expected);
      double[] values = TensorArrays.doubles(actual);
      for (int i = 0; i < values.length; i++) {
        assertThat(values[i]).isCloseTo(expectedValues[i], within(tolerance));
      }
    }
  }
}
