package org.autocircuit.mode;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.autocircuit.Close.assertClose;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.autocircuit.PatchableModel;
import org.autocircuit.TestModels;
import org.autocircuit.exception.ScopeOrderException;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

@SuppressWarnings("MustBeClosedChecker") // It closes too late, twice, or elsewhere, on purpose.
class ScopesTest {

  private final PointerScope scope = new PointerScope();
  private final PatchableModel model = TestModels.patchable();
  private final Tensor tokens = TestModels.tokenTensor(2, 5, 1);
  private final SourceActivations patch =
      model.sourceAblations(TestModels.tokens(2, 5, 2), BatchAblation.RESAMPLE);

  @AfterEach
  void close() {
    patch.close();
    model.close();
    scope.close();
  }

  @Test
  void masksThatTwoModelsTrainAreTrainedUntilBothEnd() {
    try (PatchableModel other = TestModels.patchable();
        MaskParameters masks = model.newMaskParameters()) {
      TrainMaskMode first = model.trainMaskMode(masks);
      TrainMaskMode second = other.trainMaskMode(masks, false);
      assertThat(masks.requiresGrad()).isFalse();
      first.close();
      assertThat(masks.isTraining()).isTrue();
      assertThat(masks.requiresGrad()).isFalse();
      second.close();
      assertThat(masks.isTraining()).isFalse();
    }
  }

  @Test
  void modesOfDifferentKindsCombine() {
    model.masks().setAll(0.7);
    Tensor expected =
        model.forward(
            tokens,
            PatchContext.builder(patch, Masks.uniform(model.graph(), 0.7f))
                .maskFn(MaskFn.SIGMOID)
                .build());
    try (MaskFnMode fn = model.maskFnMode(MaskFn.SIGMOID);
        TrainMaskMode train = model.trainMaskMode();
        PatchMode mode = model.patchMode(patch)) {
      // With gradients, other kernels run.
      assertThat(model.forward(tokens).allclose(expected, 1e-5, 1e-6, false)).isTrue();
    }
    try (PatchMode mode = model.patchMode(patch);
        MaskFnMode fn = model.maskFnMode(MaskFn.SIGMOID)) {
      assertEqual(model.forward(tokens), expected);
    }
  }

  @Test
  void aModeOfTheSameKindShadowsAndClosingRestores() {
    EdgeSet first = TestModels.circuit(model.graph(), 0.2, 1);
    EdgeSet second = TestModels.circuit(model.graph(), 0.2, 2);
    Tensor outerLogits = model.forward(tokens, PatchContext.of(patch, Masks.ofEdges(first)));
    Tensor innerLogits = model.forward(tokens, PatchContext.of(patch, Masks.ofEdges(second)));
    try (PatchMode outer = model.patchMode(patch, Masks.ofEdges(first))) {
      try (PatchMode inner = model.patchMode(patch, Masks.ofEdges(second))) {
        assertEqual(model.forward(tokens), innerLogits);
      }
      assertEqual(model.forward(tokens), outerLogits);
    }
    assertEqual(model.forward(tokens), model.forward(tokens, PatchContext.NONE));
  }

  @Test
  void noPatchModeWritesTheDefaultMasks() {
    EdgeSet circuit = TestModels.circuit(model.graph(), 0.2, 1);
    double[] ones = Masks.ofEdges(circuit).toArray();
    List<String> names = circuit.edges().stream().map(Edge::toString).toList();
    model.masks().setAll(0.5);
    double[] before = model.masks().toArray();
    try (PatchMode edges = model.patchMode(patch, circuit);
        PatchMode list = model.patchMode(patch, circuit.edges());
        PatchMode named = model.patchModeByName(patch, names);
        PatchMode own = model.patchMode(patch, Masks.ofEdges(circuit));
        PatchMode defaults = model.patchMode(patch)) {
      assertThat(List.of(edges, list, named, own))
          .allSatisfy(mode -> assertThat(mode.masks().toArray()).isEqualTo(ones));
      assertThat(defaults.masks()).isSameAs(model.masks());
      assertThat(model.masks().toArray()).isEqualTo(before);
    }
    assertThat(model.masks().toArray()).isEqualTo(before);
  }

  /** A call of its own does to the model's masks what the original's patch_mode does. */
  @Test
  void defaultMasksThatAreSetToEdgesStaySo() {
    EdgeSet circuit = TestModels.circuit(model.graph(), 0.2, 1);
    Tensor expected = model.forward(tokens, PatchContext.of(patch, Masks.ofEdges(circuit)));
    model.masks().setEdges(circuit);
    try (PatchMode mode = model.patchMode(patch)) {
      assertEqual(model.forward(tokens), expected);
    }
    assertThat(model.masks().toArray()).isEqualTo(Masks.ofEdges(circuit).toArray());
  }

  @Test
  void aPatchModeOfEdgesInsideLeavesTheOuterOneAsItWas() {
    EdgeSet first = TestModels.circuit(model.graph(), 0.2, 1);
    EdgeSet second = TestModels.circuit(model.graph(), 0.2, 2);
    Tensor outerLogits = model.forward(tokens, PatchContext.of(patch, Masks.ofEdges(first)));
    Tensor innerLogits = model.forward(tokens, PatchContext.of(patch, Masks.ofEdges(second)));
    try (PatchMode outer = model.patchMode(patch, first)) {
      assertThatThrownBy(() -> model.patchModeByName(patch, List.of("no edge")))
          .isInstanceOf(IllegalArgumentException.class);
      try (PatchMode inner = model.patchMode(patch, second)) {
        assertEqual(model.forward(tokens), innerLogits);
        try (PatchMode again = model.patchMode(patch, first)) {
          assertEqual(model.forward(tokens), outerLogits);
        }
        assertEqual(model.forward(tokens), innerLogits);
      }
      assertEqual(model.forward(tokens), outerLogits);
    }
    try (PatchMode constants = model.patchMode(patch, Masks.uniform(model.graph(), 1));
        PatchMode inner = model.patchMode(patch, second)) {
      assertEqual(model.forward(tokens), innerLogits);
    }
  }

  @Test
  void patchesThatAreRefusedWriteNoMasks() {
    model.masks().setAll(0.5);
    SourceActivations closed =
        model.sourceAblations(TestModels.tokens(2, 5, 2), BatchAblation.RESAMPLE);
    closed.close();
    EdgeSet all = EdgeSet.all(model.graph());
    assertThatThrownBy(() -> model.patchMode(closed, all))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("SourceActivations is closed");
    assertThatThrownBy(() -> model.patchMode((SourceActivations) null, all))
        .isInstanceOf(NullPointerException.class)
        .hasMessageContaining("activations");
    try (SourceActivations narrow = SourceActivations.of(patch.tensor().narrow(3, 0, 15));
        SourceActivations few = SourceActivations.of(patch.tensor().narrow(0, 0, 4));
        SourceActivations doubles =
            SourceActivations.of(patch.tensor().to(torch.ScalarType.Double))) {
      for (SourceActivations wrong : List.of(narrow, few, doubles)) {
        assertThatThrownBy(() -> model.patchMode(wrong, all))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessageContaining("source activations: expected");
      }
    }
    assertThat(model.masks().toArray()).containsOnly(0.5);
    assertThat(model.openScopes()).isEmpty();
  }

  @Test
  void aPatchModeOwnsItsStartAsMuchAsItsActivations() {
    ForwardResult whole =
        model.forward(
            ForwardRequest.of(tokens)
                .withContext(PatchContext.NONE)
                .withSourceOutputs()
                .withReads("blocks.1.hook_resid_pre"));
    Tensor residual = whole.read("blocks.1.hook_resid_pre");
    Masks masks = Masks.ofNames(model.graph(), List.of("A1.1->MLP 1"));
    SourceActivations start = SourceActivations.of(whole.sourceOutputs().orElseThrow());
    try (PatchMode mode = model.patchMode(patch, masks, start)) {
      assertClose(
          "started late",
          model.forward(ForwardRequest.startingAt(1, residual)).logits(),
          model.forward(tokens, PatchContext.of(patch, masks)),
          1e-5);
      whole.sourceOutputs().orElseThrow().close();
      model.forward(ForwardRequest.startingAt(1, residual)); // the memory is counted
      start.close();
      assertThatThrownBy(() -> model.forward(ForwardRequest.startingAt(1, residual)))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("SourceActivations is closed");
    }
  }

  @Test
  void aMaskFunctionAloneChangesNothing() {
    try (MaskFnMode fn = model.maskFnMode(MaskFn.HARD_CONCRETE)) {
      assertEqual(model.forward(tokens), model.forward(tokens, PatchContext.NONE));
    }
  }

  @Test
  void eachPassOfAModeHasNoiseOfItsOwnAndAModeOpenedAgainTheSame() {
    List<Tensor> first = new ArrayList<>();
    List<Tensor> second = new ArrayList<>();
    for (List<Tensor> logits : List.of(first, second)) {
      try (MaskFnMode fn = model.maskFnMode(MaskFn.HARD_CONCRETE, 0, Noise.seeded(3, 0))) {
        for (int step = 0; step < 3; step++) {
          try (PatchMode mode = model.patchMode(patch)) {
            logits.add(model.forward(tokens));
          }
        }
      }
    }
    for (int step = 0; step < 3; step++) {
      assertEqual(first.get(step), second.get(step));
      PatchContext explicit =
          PatchContext.builder(patch, model.masks())
              .maskFn(MaskFn.HARD_CONCRETE)
              .noise(Noise.seeded(3, step))
              .build();
      assertEqual(model.forward(tokens, explicit), first.get(step));
    }
    assertThat(torch.equal(first.get(0), first.get(1))).isFalse();
  }

  @Test
  void trainMaskModeRestoresTheFlagAndKeepsGradients() {
    MaskParameters masks = model.masks();
    assertThat(masks.requiresGrad()).isFalse();
    try (TrainMaskMode train = model.trainMaskMode();
        PatchMode mode = model.patchMode(patch)) {
      assertThat(train.parameters()).isSameAs(masks);
      assertThat(masks.requiresGrad()).isTrue();
      try (TrainMaskMode inner = model.trainMaskMode(false)) {
        assertThat(masks.requiresGrad()).isFalse();
      }
      assertThat(masks.requiresGrad()).isTrue();
      model.forward(tokens).sum().backward();
    }
    assertThat(masks.requiresGrad()).isFalse();
    assertThat(masks.isTraining()).isFalse();
    double[] gradients = masks.gradientArray();
    assertThat(gradients).hasSize(model.graph().maskSize());
    assertThat(gradients[gradients.length - 1]).isNotZero();
    try (TrainMaskMode again = model.trainMaskMode()) {
      assertThat(masks.hasGradients()).isFalse();
    }
  }

  @Test
  void trainingInsideTrainingHasGradientsOfItsOwn() {
    try (PatchMode mode = model.patchMode(patch);
        TrainMaskMode outer = model.trainMaskMode()) {
      model.forward(tokens).sum().backward();
      double[] before = model.masks().gradientArray();
      try (TrainMaskMode inner = model.trainMaskMode()) {
        assertThat(model.masks().hasGradients()).isFalse();
        model.forward(tokens).square().sum().backward();
        assertThat(model.masks().gradientArray()).isNotEqualTo(before);
      }
      assertThat(model.masks().gradientArray()).isEqualTo(before);
      try (TrainMaskMode inner = model.trainMaskMode(false)) {
        assertThat(model.masks().hasGradients()).isFalse();
      }
      model.forward(tokens).sum().backward();
      double[] sum = model.masks().gradientArray();
      for (int i = 0; i < sum.length; i++) {
        assertThat(sum[i]).isEqualTo(2 * before[i]);
      }
    }
  }

  @Test
  void gradientsOutliveTheirMasks() {
    Tensor gradients;
    double[] values;
    try (MaskParameters own = model.newMaskParameters();
        PatchMode mode = model.patchMode(patch, own);
        TrainMaskMode training = model.trainMaskMode(own)) {
      model.forward(tokens).sum().backward();
      gradients = own.gradients();
      values = own.gradientArray();
      own.zeroGrad();
    }
    assertThat(TensorArrays.doubles(gradients)).isEqualTo(values);
  }

  @Test
  void dropoutActsOnlyWhileMasksAreTrained() {
    model.masks().setAll(0.5);
    Tensor plain = model.forward(tokens, PatchContext.of(patch, model.masks()));
    try (MaskFnMode fn = model.maskFnMode(MaskFn.NONE, 0.5);
        PatchMode mode = model.patchMode(patch)) {
      assertEqual(model.forward(tokens), plain);
      try (TrainMaskMode train = model.trainMaskMode(false)) {
        assertThat(torch.equal(model.forward(tokens), plain)).isFalse();
      }
    }
  }

  @Test
  void wrongOrderClosesTheInnerModesAndSaysSo() {
    PatchMode outer = model.patchMode(patch);
    TrainMaskMode inner = model.trainMaskMode();
    assertThatThrownBy(outer::close)
        .isInstanceOf(ScopeOrderException.class)
        .hasMessageContaining("patchMode")
        .hasMessageContaining("trainMaskMode");
    assertThat(inner.isOpen()).isFalse();
    assertThat(model.masks().requiresGrad()).isFalse();
    inner.close();
    assertEqual(model.forward(tokens), model.forward(tokens, PatchContext.NONE));
  }

  @Test
  void anotherThreadIsNotPatchedAndMayNotClose() throws Exception {
    Tensor plain = model.forward(tokens, PatchContext.NONE);
    ExecutorService other = Executors.newSingleThreadExecutor();
    EdgeSet all = EdgeSet.all(model.graph());
    try (PatchMode mode = model.patchMode(patch, all)) {
      Tensor patched = model.forward(tokens);
      other
          .submit(
              () -> {
                try (PointerScope theirs = new PointerScope()) {
                  assertEqual(model.forward(tokens), plain);
                  assertThatThrownBy(mode::close).isInstanceOf(IllegalStateException.class);
                  assertThatThrownBy(() -> model.masks().setEdges(all))
                      .isInstanceOf(IllegalStateException.class)
                      .hasMessageContaining("newMaskParameters");
                  try (MaskParameters own = model.newMaskParameters();
                      PatchMode theirMode = model.patchMode(patch, own)) {
                    own.setAll(1);
                    assertEqual(model.forward(tokens), patched);
                  }
                  try (PatchMode theirMode = model.patchMode(patch, all)) {
                    assertEqual(model.forward(tokens), patched);
                  }
                }
                return null;
              })
          .get();
      assertThat(mode.isOpen()).isTrue();
      assertEqual(model.forward(tokens), patched);
    } finally {
      other.shutdownNow();
    }
  }

  @Test
  void closingTheModelWithOpenModesClosesAllAndSaysSo() {
    try (PatchableModel another = TestModels.patchable()) {
      PatchMode mode = another.patchMode(patch);
      assertThat(another.openScopes()).singleElement().asString().contains("patchMode");
      assertThatThrownBy(another::close)
          .isInstanceOf(ScopeOrderException.class)
          .hasMessageContaining("patchMode");
      assertThat(another.isClosed()).isTrue();
      assertThat(mode.isOpen()).isFalse();
      mode.close();
    }
  }

  /** Random nesting, with exceptions thrown through it: afterwards everything is as it was. */
  @Test
  void exceptionsThroughNestedModesLeaveNothingBehind() {
    Tensor plain = model.forward(tokens);
    for (long seed = 0; seed < 30; seed++) {
      Random random = new Random(seed);
      List<ModelScope> opened = new ArrayList<>();
      assertThatThrownBy(() -> nest(random, 6, opened)).hasMessage("on purpose");
      assertThat(opened).noneMatch(ModelScope::isOpen);
      assertThat(model.openScopes()).isEmpty();
      assertThat(model.masks().requiresGrad()).isFalse();
      assertThat(model.masks().isTraining()).isFalse();
      assertThat(model.masks().examples()).isEmpty();
      assertEqual(model.forward(tokens), plain);
    }
  }

  private static MaskFn fn(Random random) {
    return random.nextBoolean() ? MaskFn.SIGMOID : MaskFn.HARD_CONCRETE;
  }

  @SuppressWarnings("InfiniteRecursion") // It ends with an exception, on purpose.
  private void nest(Random random, int depth, List<ModelScope> opened) {
    if (depth == 0) {
      throw new UnsupportedOperationException("on purpose");
    }
    ModelScope next =
        switch (random.nextInt(5)) {
          case 0 -> model.patchMode(patch, TestModels.circuit(model.graph(), 0.3, depth));
          case 1 -> model.maskFnMode(fn(random), 0.25);
          case 2 -> model.trainMaskMode(random.nextBoolean());
          case 3 -> model.setMaskBatchSize(2);
          default -> model.patchMode(patch, Masks.uniform(model.graph(), 0.5));
        };
    try (ModelScope mode = next) {
      opened.add(mode);
      model.forward(tokens);
      if (random.nextInt(3) == 0) {
        assertThatThrownBy(() -> model.patchModeByName(patch, List.of("no edge")))
            .isInstanceOf(IllegalArgumentException.class);
      }
      nest(random, depth - 1, opened);
    }
  }

  private static void assertEqual(Tensor actual, Tensor expected) {
    assertThat(torch.equal(actual, expected)).isTrue();
  }
}
