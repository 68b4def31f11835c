package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertAll;

import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.autocircuit.checkpoint.HuggingFaceConfig;
import org.autocircuit.checkpoint.LoadOptions;
import org.autocircuit.data.PromptBatches;
import org.autocircuit.graph.DestNode;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcNode;
import org.autocircuit.model.AttentionScores;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Norm;
import org.autocircuit.model.Precision;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.train.TrainingOptions;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Values that are no records, since they may grow, still compare and print by all they hold. */
class ValueClassesTest {

  /** Values of one class that differ, each made by a call of its own. */
  private static Stream<Object> values() {
    PatchableModelOptions patchable = PatchableModelOptions.defaults();
    PromptBatches.Options batches = PromptBatches.Options.ofSize(2);
    TransformerConfig config = RandomModels.config(2, 12, 3, 4, 20, 17, 9);
    HuggingFaceConfig gpt2 = HuggingFaceConfig.of(config);
    AutoencoderConfig autoencoders = AutoencoderConfig.of(Map.of(0, 3));
    Norm norm = Norm.layerNorm(1e-5);
    RotaryPositions rotary = RotaryPositions.halves(4);
    ModelGraph graph = ModelGraph.of(new MicroModelConfig(2), true, false);
    SrcNode src = graph.srcs().get(1);
    DestNode dest = graph.dests().get(graph.dests().size() - 1);
    return Stream.of(
        patchable,
        patchable.withFactorized(false),
        patchable.withSeparateQkv(false),
        patchable.withUngroupKeyValues(true),
        patchable.withSeqLen(3),
        patchable.withOutputSlice(OutputSlice.ALL),
        batches,
        batches.withPrependBos(true),
        batches.withDropPartial(),
        batches.withGroupByLength(),
        batches.withPadding(),
        batches.withShuffle(1),
        PromptBatches.Options.ofSize(3),
        LoadOptions.DEFAULT,
        LoadOptions.DEFAULT.withPrecision(Precision.FLOAT64),
        LoadOptions.DEFAULT.withDevice("meta"),
        TrainingOptions.DEFAULT,
        TrainingOptions.DEFAULT.withSeed(2),
        TrainingOptions.DEFAULT.withLearningRate(0.5),
        gpt2,
        gpt2.withTiedEmbedding(false),
        gpt2.withBosTokenId(1),
        gpt2.withEosTokenIds(List.of(1)),
        gpt2.withEosTokenIds(List.of(1, 2)),
        autoencoders,
        autoencoders.withSeqLen(2),
        autoencoders.withErrorNodes(true),
        AutoencoderConfig.of(Map.of(0, 4)),
        AttentionScores.PLAIN,
        AttentionScores.PLAIN.withScale(2),
        AttentionScores.PLAIN.withSoftCap(2),
        AttentionScores.PLAIN.withWindow(2),
        AttentionScores.PLAIN.withWindow(2, 2),
        AttentionScores.PLAIN.withQkNorm(),
        norm,
        norm.withoutWeights(),
        norm.withWeightOffset(1),
        norm.withEps(1),
        Norm.rmsNorm(1e-5),
        rotary,
        rotary.withBase(5),
        RotaryPositions.halves(2),
        RotaryPositions.adjacent(4),
        config,
        config.toBuilder().nLayers(3).build(),
        config.toBuilder().nKeyValueHeads(1).build(),
        config.toBuilder().dMlp(21).build(),
        config.toBuilder().blockKind(BlockKind.PARALLEL).build(),
        config.toBuilder().rotary(rotary).build(),
        config.toBuilder().gatedMlp(true).build(),
        config.toBuilder().embedScale(2).build(),
        config.toBuilder().logitSoftCap(2).build(),
        config.toBuilder().autoencoders(autoencoders).build(),
        src,
        graph.srcs().get(2),
        dest,
        graph.dests().get(0),
        new Edge(src, dest),
        new Edge(src, dest, 1),
        new Edge(src, graph.dests().get(0)));
  }

  @ParameterizedTest
  @MethodSource("values")
  void valuesAreEqualIfTheyHoldTheSame(Object value) {
    List<Object> equal = values().filter(value::equals).toList();
    assertThat(equal).hasSize(1);
    assertThat(value).hasSameHashCodeAs(equal.get(0)).hasToString(equal.get(0).toString());
  }

  /** A value that got one more component says it; nodes and edges are printed by their names. */
  @ParameterizedTest
  @MethodSource("values")
  void valuesPrintAllTheyHold(Object value) {
    if (value instanceof SrcNode || value instanceof DestNode || value instanceof Edge) {
      return;
    }
    Class<?> type = value.getClass();
    assertThat(value.toString()).startsWith(type.getSimpleName() + "[");
    assertAll(
        Stream.of(type.getDeclaredFields())
            .filter(field -> !Modifier.isStatic(field.getModifiers()))
            .map(Field::getName)
            .map(
                name -> () -> assertThat(value.toString()).containsPattern("[\\[ ]" + name + "=")));
  }
}
