package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.assertj.core.api.AbstractThrowableAssert;
import org.autocircuit.RandomModels;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.TransformerConfig;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PruneScoresJsonTest {

  private static final ModelGraph GRAPH = ModelGraph.of(new MicroModelConfig(2), false, false);
  private static final PruneScores SCORES =
      PruneScores.of(
          GRAPH,
          new float[] {
            0.1f, -3e-20f, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY, Float.NaN, -0f
          });

  @TempDir Path folder;

  @Test
  void theFormat() throws IOException {
    assertThat(text(SCORES).lines().map(String::strip))
        .containsExactly(
            "{",
            "\"format\" : \"autocircuit-prune-scores\",",
            "\"version\" : 1,",
            "\"graph\" : {",
            "\"model\" : \"micro\",",
            "\"n_layers\" : 2,",
            "\"n_heads\" : 2,",
            "\"d_model\" : 2,",
            "\"factorized\" : false,",
            "\"separate_qkv\" : false,",
            "\"seq_len\" : null,",
            "\"n_edges\" : 6",
            "},",
            "\"precision\" : \"float32\",",
            "\"scores\" : {",
            "\"Resid Start->Resid Post 0\" : 0.1,",
            "\"B0.0->Resid Post 0\" : -3.0E-20,",
            "\"B0.1->Resid Post 0\" : \"inf\",",
            "\"Resid Post 0->Resid End\" : \"-inf\",",
            "\"B1.0->Resid End\" : \"nan\",",
            "\"B1.1->Resid End\" : -0.0",
            "}",
            "}");
  }

  @Test
  void readingGivesBackWhatWasWritten() throws IOException {
    assertThat(copy(SCORES)).isEqualTo(SCORES);
    PruneScores doubles = RandomPruneScores.of(GRAPH, 3);
    assertThat(text(doubles)).contains("float64");
    assertThat(copy(doubles)).isEqualTo(doubles);
    ModelGraph positions = ModelGraph.of(new MicroModelConfig(3), true, false, 4);
    PruneScores positioned = RandomPruneScores.of(positions, 3);
    assertThat(copy(positioned)).isEqualTo(positioned);
  }

  @Test
  void whatHidesAValueOrHoldsNoneIsRefused() throws IOException {
    String good = text(SCORES);
    for (String after : List.of("{}", "x", "]", "\n\n" + good)) {
      assertRefused(good + after, "text after the end");
    }
    assertThat(read(good + " \n\t")).isEqualTo(SCORES);
    assertRefused(
        good.replace("\"n_layers\" : 2,", "\"n_layers\" : 3, \"n_layers\" : 2,"),
        "'n_layers' once, not twice");
    assertRefused(good.replace(": 0.1,", ": 1e400,"), "1e400", "no float32");
    assertRefused(good.replace(": 0.1,", ": -1e39,"), "-1e39", "no float32");
    String doubles = good.replace("float32", "float64");
    assertThat(read(doubles.replace(": 0.1,", ": -1e39,")).get(0)).isEqualTo(-1e39);
    assertRefused(doubles.replace(": 0.1,", ": -1e400,"), "-1e400", "no float64");
  }

  private PruneScores read(String text) throws IOException {
    return PruneScoresJson.read(GRAPH, Files.writeString(folder.resolve("s.json"), text));
  }

  private void assertRefused(String text, String... words) {
    assertThatThrownBy(() -> read(text))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("s.json")
        .hasMessageContainingAll(words);
  }

  @Test
  void circuitsHaveTheirEdgesOnly() throws IOException {
    Path file = folder.resolve("circuit.json");
    EdgeSet edges = EdgeSet.of(GRAPH, 0, 4);
    PruneScoresJson.writeCircuit(new CircuitScores(SCORES, edges, Map.of("model", "tiny")), file);
    String text = Files.readString(file);
    assertThat(text.lines().map(String::strip).toList())
        .containsSubsequence(
            "},",
            "\"circuit\" : {",
            "\"model\" : \"tiny\",",
            "\"n_edges\" : 2",
            "},",
            "\"scores\" : {",
            "\"Resid Start->Resid Post 0\" : 0.1,",
            "\"B1.0->Resid End\" : \"nan\"",
            "}");
    CircuitScores read = PruneScoresJson.readCircuit(GRAPH, file);
    assertThat(read.edges()).isEqualTo(edges);
    assertThat(read.properties()).containsExactly(Map.entry("model", "tiny"));
    assertThat(read.scores().toFloatArray()).containsExactly(0.1f, 0, 0, 0, Float.NaN, 0);
    assertThat(PruneScoresJson.read(GRAPH, file)).as("as scores").isEqualTo(read.scores());

    Files.writeString(file, text.replace("\"n_edges\" : 2", "\"n_edges\" : 3"));
    assertThatThrownBy(() -> PruneScoresJson.readCircuit(GRAPH, file))
        .isInstanceOf(IOException.class)
        .hasMessage(file + " has 2 edges of a circuit of 3");
    Path all = write("all.json", text(SCORES));
    assertThatThrownBy(() -> PruneScoresJson.readCircuit(GRAPH, all))
        .isInstanceOf(IOException.class)
        .hasMessageStartingWith(all + " has the scores of all 6 edges and no circuit");
  }

  @Test
  void circuitsOfGraphsWithPositions() throws IOException {
    ModelGraph graph = ModelGraph.of(new MicroModelConfig(2), true, false, 3);
    for (EdgeSet edges :
        List.of(
            EdgeSet.none(graph),
            EdgeSet.of(graph, 0, graph.nEdges() - 1),
            EdgeSet.ofNames(graph, List.of("B1.0->Resid End", "B1.1->Resid End@1")),
            EdgeSet.all(graph))) {
      Path file = folder.resolve("circuit.json");
      PruneScores scores = RandomPruneScores.of(graph, 3);
      PruneScoresJson.writeCircuit(new CircuitScores(scores, edges, Map.of()), file);
      CircuitScores read = PruneScoresJson.readCircuit(graph, file);
      assertThat(read.edges()).isEqualTo(edges);
      edges.indices().forEach(i -> assertThat(read.scores().get(i)).isEqualTo(scores.get(i)));
    }
    Path file = write("scores.json", text(RandomPruneScores.of(graph, 3)));
    Files.writeString(file, Files.readString(file).replaceFirst("\\[ [^,]*,", "[ null,"));
    assertThatThrownBy(() -> PruneScoresJson.read(graph, file))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("expected a number as score of");
  }

  @Test
  void manyEdges() throws IOException {
    ModelGraph graph =
        ModelGraph.of(RandomModels.config(12, 768, 12, 64, 3072, 50257, 1024), true, true, 4);
    PruneScores scores = PruneScores.of(graph, RandomPruneScores.of(graph, 3).toFloatArray());
    assertThat(copy(scores)).isEqualTo(scores);
  }

  @Test
  void scoresOfOtherGraphs() throws IOException {
    Path file = write("scores.json", text(SCORES));
    ModelGraph deeper = ModelGraph.of(new MicroModelConfig(3), false, false);
    assertRefused(deeper, file)
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(file + " has the scores of another graph: expected n_layers 3, found 2");
    ModelGraph positions = ModelGraph.of(new MicroModelConfig(2), false, false, 5);
    assertRefused(positions, file).hasMessageContaining("expected seq_len 5, found none");
    ModelGraph transformer = ModelGraph.of(RandomModels.config(2, 2, 2, 1, 4, 5, 6), false, true);
    assertRefused(transformer, file)
        .hasMessageContaining("expected model transformer, found micro");
    assertRefused(GRAPH, edited("\"d_model\" : 2,", ""))
        .hasMessageContaining("does not say the graph's 'd_model'");
  }

  @Test
  void theHeaderSaysWhichKindOfTransformer() throws IOException {
    TransformerConfig config =
        TransformerConfig.builder()
            .nLayers(2)
            .dModel(16)
            .nHeads(4)
            .nKeyValueHeads(2)
            .dVocab(5)
            .blockKind(BlockKind.ATTENTION_ONLY)
            .build();
    ModelGraph grouped = ModelGraph.of(config, true, true);
    PruneScores scores = RandomPruneScores.of(grouped, 3);
    assertThat(copy(scores)).isEqualTo(scores);
    assertThat(text(scores)).contains("attention_only", "n_key_value_heads");
    Path file = write("grouped.json", text(scores));
    assertRefused(grouped.ungroupKeyValues(), file)
        .hasMessageContaining("expected ungrouped_key_values true, found false");
  }

  @Test
  void theHeaderSaysWhichAutoencoders() throws IOException {
    AutoencoderConfig first = AutoencoderConfig.of(Map.of(0, 3));
    PruneScores scores = RandomPruneScores.of(graph(first), 3);
    assertThat(copy(scores)).isEqualTo(scores);
    Path file = write("latents.json", text(scores));
    assertRefused(graph(AutoencoderConfig.of(Map.of(0, 2, 1, 1))), file)
        .hasMessageContaining("expected autoencoder_latents {0=2, 1=1}, found {0=3}");
    assertRefused(graph(first.withErrorNodes(true)), file)
        .hasMessageContaining("expected autoencoder_errors true, found false");
    assertRefused(graph(AutoencoderConfig.of(first.latents()).withSeqLen(4)), file)
        .hasMessageContaining("expected autoencoder_positions 4, found none");
  }

  private static ModelGraph graph(AutoencoderConfig autoencoders) {
    TransformerConfig.Builder builder =
        TransformerConfig.builder().nLayers(2).dModel(16).nHeads(4).dVocab(5);
    return ModelGraph.of(builder.autoencoders(autoencoders).build(), true, true);
  }

  @Test
  void edgesThatAreUnknownMissingOrTwice() throws IOException {
    assertRefused(GRAPH, edited("\"B1.0->Resid End\"", "\"B1.0->Resid Ent\""))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("edited.json, line 20")
        .hasMessageContaining("did you mean 'B1.0->Resid End'?");
    assertRefused(GRAPH, edited("\"B1.0->Resid End\" : \"nan\",", ""))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("no score for 1 of 6 edges, the first of them 'B1.0->Resid End'");
    assertRefused(GRAPH, edited("B1.0->Resid End", "B0.1->Resid Post 0"))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("'B0.1->Resid Post 0' once, not twice");
  }

  @Test
  void filesThatAreNoScores() throws IOException {
    assertThatThrownBy(() -> PruneScoresJson.read(GRAPH, folder.resolve("none.json")))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("none.json");
    assertRefused(GRAPH, write("a", "")).hasMessageContaining("found the end of the file");
    assertRefused(GRAPH, write("a", "[]")).hasMessageContaining("expected an object");
    assertRefused(GRAPH, write("a", "{\"cfg\": 1}"))
        .hasMessageContaining("expected member 'format', found member 'cfg'");
    assertRefused(GRAPH, edited("autocircuit-prune", "other")).hasMessageContaining("other-scores");
    assertRefused(GRAPH, edited("\"version\" : 1", "\"version\" : 2"))
        .hasMessageContaining("expected version 1, found '2'");
    assertRefused(GRAPH, edited("float32", "float8")).hasMessageContaining("found 'float8'");
    assertRefused(GRAPH, edited("\"nan\"", "\"none\"")).hasMessageContaining("found 'none'");
    assertRefused(GRAPH, edited("\"nan\"", "true")).hasMessageContaining("found 'true'");
    assertRefused(GRAPH, edited("\"nan\"", "[1]")).hasMessageContaining("expected one score");
    assertRefused(GRAPH, edited("\"nan\"", "nan")).hasMessageContaining("line 20");
  }

  @Test
  void positionsThatDoNotFit() throws IOException {
    ModelGraph graph = ModelGraph.of(new MicroModelConfig(1), true, false, 2);
    String text = text(PruneScores.filled(graph, 1));
    assertThat(text).contains("[ 1.0, 1.0 ]");
    assertRefused(graph, write("a", text.replaceFirst("\\[ 1.0, 1.0 ]", "[ 1.0 ]")))
        .hasMessageContaining("expected 2 scores for 'Resid Start->B0.0', not 1");
    assertRefused(graph, write("a", text.replaceFirst("\\[ 1.0, 1.0 ]", "[ 1, 1, 1 ]")))
        .hasMessageContaining("expected only 2 scores");
    assertRefused(graph, write("a", text.replaceFirst("\\[ 1.0, 1.0 ]", "1")))
        .hasMessageContaining("expected 2 scores");
  }

  @Test
  void truncatedAtAnyPlace() throws IOException {
    String text = text(SCORES).stripTrailing();
    for (int length = 0; length < text.length(); length++) {
      assertRefused(GRAPH, write("cut.json", text.substring(0, length)))
          .as("%d characters", length)
          .isInstanceOf(IOException.class)
          .hasMessageContaining("cut.json");
    }
  }

  private AbstractThrowableAssert<?, ? extends Throwable> assertRefused(
      ModelGraph graph, Path file) {
    return assertThatThrownBy(() -> PruneScoresJson.read(graph, file));
  }

  private PruneScores copy(PruneScores scores) throws IOException {
    Path file = folder.resolve("copy.json");
    PruneScoresJson.write(scores, file);
    return PruneScoresJson.read(scores.graph(), file);
  }

  private String text(PruneScores scores) throws IOException {
    Path file = folder.resolve("text.json");
    PruneScoresJson.write(scores, file);
    return Files.readString(file);
  }

  private Path edited(String from, String to) throws IOException {
    String text = text(SCORES);
    assertThat(text).contains(from);
    return write("edited.json", text.replace(from, to));
  }

  private Path write(String name, String text) throws IOException {
    return Files.writeString(folder.resolve(name), text);
  }
}
