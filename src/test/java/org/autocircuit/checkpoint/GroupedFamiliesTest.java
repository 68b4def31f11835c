package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;
import java.util.Random;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.graph.Edge;
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
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The query heads that a key/value head's label names are those that read it: an edge into it does
 * what the edges into the keys or values of these heads do together in the ungrouped graph.
 */
@ExtendWith(NativeScope.class)
@Tag("slow")
class GroupedFamiliesTest {

  private static final int SEQ = 7;
  private static final String AUTOENCODERS = "with autoencoders";

  @TempDir Path folder;

  static List<String> names() {
    List<String> names = new ArrayList<>(List.of(AUTOENCODERS));
    try (PointerScope scope = new PointerScope()) {
      for (String name : FamilyModels.names()) {
        int heads = FamilyModels.named(name).config.path("num_key_value_heads").asInt();
        if (heads > 0 && heads < FamilyModel.HEADS) {
          names.add(name);
        }
      }
    }
    return names;
  }

  private Model load(String name) {
    LoadOptions options = LoadOptions.DEFAULT.withPrecision(Precision.FLOAT64);
    if (!name.equals(AUTOENCODERS)) {
      FamilyFolders.write(FamilyModels.named(name), folder, SafetensorsType.F64);
      return Checkpoints.load(folder, options);
    }
    FamilyFolders.write(FamilyModels.named("mistral"), folder, SafetensorsType.F64);
    try (Model plain = Checkpoints.load(folder, options)) {
      return plain.withAutoencoders(
          AutoencoderModels.weights(
              List.of(0, 2), FamilyModel.D, 5, OptionalInt.empty(), Precision.FLOAT64, 1),
          true);
    }
  }

  private static Tensor tokens(long seed) {
    Random random = new Random(seed);
    long[][] tokens = new long[2][SEQ];
    for (long[] row : tokens) {
      Arrays.setAll(row, i -> random.nextInt(FamilyModel.VOCAB));
    }
    return TensorArrays.of(tokens, "tokens", "cpu");
  }

  /** The edges of the ungrouped graph that an edge stands for, by what its label says. */
  private static List<Edge> meant(Edge edge, ModelGraph ungrouped) {
    String position = edge.position().isPresent() ? "@" + edge.position().getAsInt() : "";
    if (edge.dest().queryHeads().isEmpty()) {
      return ungrouped.edges(edge.name() + position);
    }
    List<Edge> edges = new ArrayList<>();
    for (int head : edge.dest().queryHeads()) {
      String name = edge.name().replaceFirst("\\.\\d+(\\.[KV])$", "." + head + "$1");
      edges.addAll(ungrouped.edges(name + position));
    }
    return edges;
  }

  @ParameterizedTest
  @MethodSource("names")
  void edgesIntoAKeyValueHeadReachTheHeadsThatItsLabelNames(String name) {
    PatchableModelOptions all = PatchableModelOptions.defaults().withOutputSlice(OutputSlice.ALL);
    try (Model loaded = load(name)) {
      for (PatchableModelOptions options : List.of(all, all.withSeqLen(SEQ))) {
        try (PatchableModel grouped = PatchableModel.of(loaded, options);
            PatchableModel ungrouped =
                PatchableModel.of(loaded, options.withUngroupKeyValues(true))) {
          assertThat(ungrouped.graph().nEdges()).isGreaterThan(grouped.graph().nEdges());
          assertSame(grouped, ungrouped);
        }
      }
    }
  }

  private static void assertSame(PatchableModel grouped, PatchableModel ungrouped) {
    AnswerLoss loss =
        AnswerLoss.of(
            GradFunction.LOGIT,
            AnswerFunction.AVG_DIFF,
            new long[][] {{1}, {2}},
            new long[][] {{3}, {4}});
    try (SourceActivations patch = grouped.sourceAblations(tokens(2), BatchAblation.RESAMPLE)) {
      Random random = new Random(3);
      for (double share : new double[] {0.05, 0.5, 0.9}) {
        List<Edge> some =
            grouped.graph().edges().stream().filter(edge -> random.nextDouble() < share).toList();
        List<Edge> meant =
            some.stream().flatMap(edge -> meant(edge, ungrouped.graph()).stream()).toList();
        Tensor one = forward(grouped, patch, some);
        assertThat(TensorArrays.doubles(one))
            .containsExactly(TensorArrays.doubles(forward(ungrouped, patch, meant)), within(1e-9));
      }
      double[] together = gradient(grouped, patch, loss);
      double[] each = gradient(ungrouped, patch, loss);
      for (Edge edge : grouped.graph().edges()) {
        double sum =
            meant(edge, ungrouped.graph()).stream()
                .mapToDouble(one -> each[ungrouped.graph().index(one)])
                .sum();
        assertThat(together[grouped.graph().index(edge)])
            .as(edge.toString())
            .isCloseTo(sum, within(1e-9));
      }
    }
  }

  private static Tensor forward(PatchableModel model, SourceActivations patch, List<Edge> edges) {
    Masks masks = Masks.ofEdges(EdgeSet.of(model.graph(), edges));
    return model.forward(tokens(1), PatchContext.of(patch, masks));
  }

  private static double[] gradient(PatchableModel model, SourceActivations patch, AnswerLoss loss) {
    PatchContext context = PatchContext.of(patch, Masks.uniform(model.graph(), 0));
    return TensorArrays.doubles(model.maskGradient(tokens(1), context, loss).gradient());
  }
}
