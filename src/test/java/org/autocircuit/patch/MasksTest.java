package org.autocircuit.patch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.ref.WeakReference;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.autocircuit.TestModels;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;

class MasksTest {

  private final ModelGraph graph = ModelGraph.of(TestModels.CONFIG, true, true);
  private final ModelGraph positions = ModelGraph.of(TestModels.CONFIG, true, true, 3);

  @Test
  void aCircuitAndWhatIsAroundIt() {
    EdgeSet circuit = TestModels.circuit(graph, 0.3, 1);
    double[] inside = Masks.of(circuit, PatchType.EDGE_PATCH).toArray();
    double[] outside = Masks.of(circuit, PatchType.TREE_PATCH).toArray();
    for (int index = 0; index < graph.nEdges(); index++) {
      assertThat(inside[index]).isEqualTo(circuit.contains(index) ? 1 : 0);
      assertThat(outside[index]).isEqualTo(circuit.contains(index) ? 0 : 1);
    }
  }

  @Test
  void valuesAreCopied() {
    double[] values = new double[graph.maskSize()];
    Masks masks = Masks.of(graph, values);
    values[0] = 1;
    assertThat(masks.get(0)).isZero();
    masks.toArray()[0] = 1;
    assertThat(masks.get(0)).isZero();
  }

  /** One tensor and one set of plans for a type, whoever asks, and as many as there are types. */
  @Test
  void threadsShareWhatIsMadeOnce() {
    Masks masks = Masks.uniform(graph, 0.25);
    assertThat(
            IntStream.range(0, 64)
                .parallel()
                .mapToObj(i -> masks.onDevice(ScalarType.Float, "cpu"))
                .distinct())
        .hasSize(1);
    assertThat(masks.onDevice(ScalarType.Double, "cpu"))
        .isNotSameAs(masks.onDevice(ScalarType.Float, "cpu"));
  }

  /** Nobody closes masks: what they have natively is as unreachable as they are. */
  @Test
  void nothingKeepsWhatIsNative() throws InterruptedException {
    WeakReference<?> dropped =
        new WeakReference<>(Masks.uniform(graph, 1).onDevice(ScalarType.Float, "cpu"));
    for (int i = 0; i < 100 && dropped.get() != null; i++) {
      System.gc();
      Thread.sleep(20);
    }
    assertThat(dropped.get()).isNull();
  }

  @Test
  void namesMeanAllPositions() {
    double[] values = Masks.ofNames(positions, List.of("A0.1->MLP 1")).toArray();
    assertThat(Arrays.stream(values).sum()).isEqualTo(3);
    double[] one = Masks.ofNames(positions, List.of("A0.1->MLP 1@2")).toArray();
    assertThat(one[positions.index("A0.1->MLP 1", 2)]).isEqualTo(1);
    assertThat(Arrays.stream(one).sum()).isEqualTo(1);
    assertThat(Masks.uniform(positions, 0.25).toArray()).containsOnly(0.25);
  }

  @Test
  void parametersAreOneVectorAndEveryModuleAViewOfIt() {
    try (PointerScope scope = new PointerScope();
        MaskParameters masks = MaskParameters.zeros(positions, ScalarType.Double, "cpu")) {
      Map<String, Tensor> modules = masks.modules();
      for (DestModule module : positions.destModules()) {
        assertThat(modules.get(module.moduleName()).shape()).isEqualTo(module.maskShape());
      }
      Tensor heads = masks.module("blocks.1.hook_k_input");
      assertThat(heads.shape()).containsExactly(3, 4, 6);
      heads.select(0, 2).select(0, 1).select(0, 5).fill_(new Scalar(0.5));
      int index = positions.index("MLP 0->A1.1.K", 2);
      assertThat(masks.toArray()[index]).isEqualTo(0.5);
      masks.set("MLP 0->A1.1.K", 2);
      assertThat(Arrays.stream(masks.toArray()).sum()).isEqualTo(6);
      masks.set(positions.edge(index), 3);
      assertThat(heads.sum().item_double()).isEqualTo(7);
      masks.setAll(0.125);
      assertThat(masks.toArray()).containsOnly(0.125);
      masks.set("MLP 0->A1.1.K@1", 1);
      assertThat(masks.toArray()[positions.index("MLP 0->A1.1.K", 1)]).isEqualTo(1);
      assertThat(masks.toArray()[index]).isEqualTo(0.125);
      masks.set(Masks.ofNames(positions, List.of("A0.1->MLP 1")));
      assertThat(Arrays.stream(masks.toArray()).sum()).isEqualTo(3);
    }
  }

  @Test
  void parametersWithoutABackwardPassHaveNoGradients() {
    try (MaskParameters masks = MaskParameters.zeros(graph, ScalarType.Float, "cpu")) {
      assertThat(masks.hasGradients()).isFalse();
      masks.zeroGrad();
      assertThatThrownBy(masks::gradients)
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("no gradients");
    }
  }

  @Test
  void closedParametersAreNamed() {
    MaskParameters masks = MaskParameters.zeros(graph, ScalarType.Float, "cpu");
    masks.close();
    masks.close();
    assertThatThrownBy(() -> masks.setAll(1))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("MaskParameters is closed");
  }
}
