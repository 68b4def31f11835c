package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.cli.TinyModel;
import org.autocircuit.data.PromptBatches;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.data.PromptText;
import org.autocircuit.graph.EdgeCounts;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.RandomPruneScores;
import org.autocircuit.tokenizer.Tokenizer;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CircuitRunsTest {

  @TempDir private static Path folder;

  private static PatchableModel model;
  private static List<PromptPairBatch> batches;

  @BeforeAll
  static void load() throws IOException {
    TinyModel.write(folder);
    model = PatchableModel.open(folder);
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      batches = PromptBatches.of(TinyModel.prompts(), tokenizer, 5).batches();
    }
  }

  @AfterAll
  static void close() {
    model.close();
  }

  private static CircuitRuns.Builder runs(Integer... sizes) {
    return CircuitRuns.builder(RandomPruneScores.of(model.graph(), 7)).sizes(List.of(sizes));
  }

  private static double distance(List<Logits> outputs, long[][] prompts, int batch) {
    Logits plain = Logits.of(model.logits(prompts, PatchContext.NONE));
    return KlDivergence.mean(outputs.get(batch), plain);
  }

  @Test
  void theExtremesAreTheCleanAndTheCorruptRun() {
    int all = model.graph().nEdges();
    for (PatchType type : PatchType.values()) {
      for (boolean reversed : new boolean[] {false, true}) {
        CircuitRuns circuits = runs(0, all).patchType(type).reverseCleanCorrupt(reversed).build();
        CircuitOutputs outputs = circuits.run(model, batches);
        assertThat(outputs.sizes()).containsExactly(0, all);
        for (int batch = 0; batch < batches.size(); batch++) {
          long[][] clean = batches.get(batch).clean();
          long[][] corrupt = batches.get(batch).corrupt();
          assertThat(distance(outputs.of(all), reversed ? corrupt : clean, batch)).isLessThan(1e-6);
          assertThat(distance(outputs.of(0), reversed ? clean : corrupt, batch)).isLessThan(1e-6);
          assertThat(distance(outputs.of(all), reversed ? clean : corrupt, batch))
              .isGreaterThan(1e-6);
        }
      }
    }
  }

  @Test
  void measuresAreThoseOfTheOutputs() {
    CircuitRuns circuits = runs(10, 30).patchType(PatchType.TREE_PATCH).build();
    CircuitOutputs outputs = circuits.run(model, batches);
    Map<Integer, CircuitMeasures> measures = circuits.measure(model, batches);
    assertThat(measures.keySet()).containsExactly(10, 30);
    List<Logits> full =
        batches.stream()
            .map(batch -> Logits.of(model.logits(batch.clean(), PatchContext.NONE)))
            .toList();
    measures.forEach(
        (size, measure) ->
            assertThat(measure.klDivergence())
                .isCloseTo(KlDivergence.mean(outputs.of(size), full), within(1e-9)));
    double difference = 0;
    for (int batch = 0; batch < batches.size(); batch++) {
      for (double each :
          AnswerMetrics.differences(
              outputs.of(10).get(batch),
              batches.get(batch).answers(),
              batches.get(batch).wrongAnswers(),
              AnswerScale.LOGIT)) {
        difference += each / 12;
      }
    }
    assertThat(measures.get(10).logitDifference()).isCloseTo(difference, within(1e-9));
  }

  @Test
  void allEdgesMeasureAsTheModel() {
    int all = model.graph().nEdges();
    CircuitMeasures circuit =
        runs(all).patchType(PatchType.TREE_PATCH).build().measure(model, batches).get(all);
    CircuitMeasures full = CircuitMeasures.ofModel(model, batches);
    assertThat(circuit.logitDifference()).isCloseTo(full.logitDifference(), within(1e-5));
    assertThat(circuit.klDivergence()).isCloseTo(0, within(1e-9));
    assertThat(circuit.accuracy()).isEqualTo(full.accuracy());
    assertThat(full.klDivergence()).isZero();
  }

  @Test
  void paddedPromptsMeasureAsTheyDoAlone() {
    List<PromptPair> pairs = new ArrayList<>();
    for (PromptPair pair : TinyModel.prompts().prompts()) {
      String longer = pairs.size() % 3 == 0 ? "" : pairs.size() % 3 == 1 ? "it " : "it went to ";
      pairs.add(
          new PromptPair(
              PromptText.of(longer + pair.clean()),
              PromptText.of(longer + pair.corrupt()),
              pair.answers(),
              pair.wrongAnswers()));
    }
    PromptDataset dataset = new PromptDataset(pairs);
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      List<PromptPairBatch> padded =
          PromptBatches.of(dataset, tokenizer, PromptBatches.Options.ofSize(5).withPadding())
              .batches();
      List<PromptPairBatch> alone = PromptBatches.of(dataset, tokenizer, 1).batches();
      assertThat(padded.get(0).clean()[0]).hasSizeLessThan(padded.get(0).seqLength());
      for (PatchType type : PatchType.values()) {
        CircuitRuns circuits = runs(10, 30).patchType(type).build();
        Map<Integer, CircuitMeasures> expected = circuits.measure(model, alone);
        Map<Integer, CircuitMeasures> measures = circuits.measure(model, padded);
        for (int size : new int[] {10, 30}) {
          CircuitMeasures actual = measures.get(size);
          assertThat(actual.logitDifference())
              .isCloseTo(expected.get(size).logitDifference(), within(1e-4));
          assertThat(actual.klDivergence())
              .isCloseTo(expected.get(size).klDivergence(), within(1e-4));
          assertThat(actual.accuracy()).isEqualTo(expected.get(size).accuracy());
        }
      }
    }
  }

  @Test
  void everyAblationRuns() {
    for (Ablation type : Ablation.values()) {
      CircuitOutputs outputs =
          runs(20).patchType(PatchType.TREE_PATCH).ablation(type).build().run(model, batches);
      assertThat(outputs.of(20)).as("%s", type).hasSize(batches.size());
    }
  }

  @Test
  void openScopesHaveNoEffect() {
    CircuitRuns circuits = runs(10).patchType(PatchType.TREE_PATCH).build();
    Map<Integer, CircuitMeasures> outside = circuits.measure(model, batches.subList(0, 1));
    try (SourceActivations zeros =
            model.sourceAblations(batches.get(0).clean(), BatchAblation.ZERO);
        PatchMode mode = model.patchModeByName(zeros, List.of("MLP 1->Resid End"))) {
      assertThat(circuits.measure(model, batches.subList(0, 1))).isEqualTo(outside);
    }
  }

  @Test
  void tiesMakeCircuitsLarger() {
    ModelGraph graph = model.graph();
    PruneScores scores =
        PruneScores.ofCircuitNames(
            graph, Map.of("A0.0->A1.1.V", 2.0, "MLP 0->A1.1.V", -1.0, "MLP 0->Resid End", 1.0));
    CircuitRuns circuits = CircuitRuns.builder(scores).sizes(List.of(2, 1, 3)).build();
    assertThat(circuits.circuits().keySet()).containsExactly(3, 1);
    assertThat(CircuitRuns.builder(scores).sizes(EdgeCounts.GROUPS).build().circuits().keySet())
        .containsExactly(0, 1, 3, graph.nEdges());
    assertThat(CircuitRuns.builder(scores).build().circuits().keySet())
        .containsExactly(0, 1, 3, graph.nEdges());
  }

  @Test
  void tellsHowFarItIs() {
    List<Long> done = new ArrayList<>();
    runs(1, 2)
        .progress(
            (passes, total) -> {
              assertThat(total).isEqualTo(6);
              done.add(passes);
            })
        .build()
        .run(model, batches);
    assertThat(done).containsExactly(1L, 2L, 3L, 4L, 5L, 6L);
  }

  @Test
  void sinksGetOutputsBatchByBatch() {
    Map<Integer, List<Integer>> batchesOf = new LinkedHashMap<>();
    runs(5, 2)
        .build()
        .run(
            model,
            batches,
            (edges, batch, logits) ->
                batchesOf.computeIfAbsent(edges, size -> new ArrayList<>()).add(batch));
    assertThat(batchesOf)
        .containsExactly(Map.entry(5, List.of(0, 1, 2)), Map.entry(2, List.of(0, 1, 2)));
  }

  @Test
  void misuse() {
    assertThatIllegalArgumentException().isThrownBy(() -> runs(-1).build());
    assertThatIllegalArgumentException().isThrownBy(() -> runs(10_000).build());
    PruneScores equal = PruneScores.of(model.graph(), new double[model.graph().nEdges()]);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CircuitRuns.builder(equal).build())
        .withMessageContaining("scores that are all equal");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> runs(1).build().measure(model, List.of()))
        .withMessageContaining("at least one batch");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CircuitMeasures.mean(List.of()))
        .withMessageContaining("got none");
    CircuitOutputs outputs = runs(3).build().run(model, batches);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> outputs.of(4))
        .withMessage("no circuit of 4 edges was run, only of [3]");
    ModelGraph joint = ModelGraph.of(model.config(), true, false);
    CircuitRuns other = CircuitRuns.builder(PruneScores.filled(joint, 1)).sizes(List.of(0)).build();
    assertThatIllegalArgumentException().isThrownBy(() -> other.run(model, batches));
    PatchableModelOptions all = PatchableModelOptions.defaults().withOutputSlice(OutputSlice.ALL);
    try (PatchableModel every = PatchableModel.open(folder, all)) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> runs(3).build().measure(every, batches))
          .withMessageContaining("one position");
    }
  }
}
