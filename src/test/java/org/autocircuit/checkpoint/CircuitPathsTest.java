package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.autocircuit.Close.assertClose;

import java.nio.file.Path;
import java.util.BitSet;
import java.util.List;
import java.util.OptionalInt;
import java.util.Random;
import java.util.stream.Stream;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.sae.AutoencoderModels;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Edges of a circuit that lie on no path from the input to the output do nothing: with all others
 * patched from corrupt prompts, the circuit without them has the same logits. Without one that
 * does, it has others nearly always: a head may look at the first position alone.
 */
@ExtendWith(NativeScope.class)
class CircuitPathsTest {

  private static final int SEQ = 5;
  private static final String AUTOENCODERS = "with autoencoders";

  @TempDir Path folder;

  record Kind(String model, boolean factorized, boolean separateQkv, boolean positions) {}

  static Stream<Kind> kinds() {
    return Stream.of("gpt2", "gpt_neox", "mistral", "gemma2", AUTOENCODERS)
        .flatMap(
            model ->
                Stream.of(false, true)
                    .flatMap(
                        positions ->
                            Stream.of(
                                new Kind(model, true, true, positions),
                                new Kind(model, true, false, positions),
                                new Kind(model, false, false, positions))))
        .filter(kind -> kind.factorized || !kind.model.equals("gpt_neox"));
  }

  private Model load(String name) {
    boolean autoencoders = name.equals(AUTOENCODERS);
    FamilyModel family = FamilyModels.named(autoencoders ? "gpt2" : name);
    FamilyFolders.write(family, folder, SafetensorsType.F64);
    Model plain = Checkpoints.load(folder, LoadOptions.DEFAULT.withPrecision(Precision.FLOAT64));
    if (!autoencoders) {
      return plain;
    }
    try (plain) {
      return plain.withAutoencoders(
          AutoencoderModels.weights(
              List.of(0, 2), FamilyModel.D, 3, OptionalInt.empty(), Precision.FLOAT64, 1),
          true);
    }
  }

  @ParameterizedTest
  @MethodSource("kinds")
  void edgesOnNoPathDoNothing(Kind kind) {
    PatchableModelOptions options =
        PatchableModelOptions.defaults()
            .withFactorized(kind.factorized)
            .withSeparateQkv(kind.separateQkv)
            .withOutputSlice(OutputSlice.ALL);
    try (Model loaded = load(kind.model);
        PatchableModel model =
            PatchableModel.of(loaded, kind.positions ? options.withSeqLen(SEQ) : options);
        SourceActivations corrupt = model.sourceAblations(tokens(2), BatchAblation.RESAMPLE)) {
      ModelGraph graph = model.graph();
      Random random = new Random(7);
      int some = 0;
      int dropped = 0;
      int missed = 0;
      for (int trial = 0; trial < 20; trial++) {
        EdgeSet circuit = random(graph, random, 0.04 * (trial + 1));
        EdgeSet paths = circuit.onPaths();
        assertThat(circuit.indices().boxed()).containsAll(paths.indices().boxed().toList());
        assertThat(paths.onPaths()).isEqualTo(paths);
        Tensor logits = logits(model, corrupt, circuit);
        assertClose(circuit + ", " + paths, logits, logits(model, corrupt, paths), 1e-9);
        some += paths.isEmpty() ? 0 : 1;
        dropped += circuit.size() - paths.size();
        if (!paths.isEmpty()) {
          int[] indices = paths.indices().toArray();
          BitSet less = new BitSet();
          paths.indices().forEach(less::set);
          less.clear(indices[random.nextInt(indices.length)]);
          Tensor without = logits(model, corrupt, EdgeSet.ofIndices(graph, less));
          missed += logits.sub(without).abs().max().item_double() > 1e-12 ? 1 : 0;
        }
      }
      assertThat(some).isGreaterThan(3);
      assertThat(missed).isGreaterThan(some / 2);
      assertThat(dropped).isGreaterThan(3);
    }
  }

  private static EdgeSet random(ModelGraph graph, Random random, double share) {
    BitSet bits = new BitSet();
    for (int i = 0; i < graph.nEdges(); i++) {
      bits.set(i, random.nextDouble() < share);
    }
    return EdgeSet.ofIndices(graph, bits);
  }

  private static Tensor logits(PatchableModel model, SourceActivations corrupt, EdgeSet circuit) {
    Masks masks = Masks.ofEdges(model.graph(), circuit.complement().edges());
    return model.forward(tokens(1), PatchContext.of(corrupt, masks));
  }

  private static Tensor tokens(long seed) {
    Random random = new Random(seed);
    long[][] rows = new long[2][SEQ];
    for (long[] row : rows) {
      for (int i = 0; i < SEQ; i++) {
        row[i] = random.nextInt(FamilyModel.VOCAB);
      }
    }
    return TensorArrays.of(rows, "tokens", "cpu");
  }
}
