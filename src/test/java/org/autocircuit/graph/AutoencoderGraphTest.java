package org.autocircuit.graph;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.TransformerConfig;
import org.junit.jupiter.api.Test;

/**
 * Tests what the reference data does not show: error nodes, some blocks only, other kinds of
 * blocks.
 */
class AutoencoderGraphTest {

  private static TransformerConfig.Builder small() {
    return TransformerConfig.builder().nLayers(2).dModel(8).nHeads(2).dVocab(11).nCtx(6);
  }

  private static AutoencoderConfig latents(Map<Integer, Integer> latents) {
    return AutoencoderConfig.of(latents);
  }

  private static ModelGraph graph(AutoencoderConfig autoencoders, boolean factorized) {
    return ModelGraph.of(small().autoencoders(autoencoders).build(), factorized, true);
  }

  @Test
  void anErrorNodeFollowsTheLatentsOfItsBlock() {
    ModelGraph graph = graph(latents(Map.of(0, 2, 1, 1)).withErrorNodes(true), true);
    assertThat(graph.srcs())
        .extracting(Node::name)
        .containsExactly(
            "Resid Start",
            "A0.0",
            "A0.1",
            "MLP 0 Latent 0",
            "MLP 0 Latent 1",
            "MLP 0 Error",
            "A1.0",
            "A1.1",
            "MLP 1 Latent 0",
            "MLP 1 Error");
    SrcNode error = graph.srcs().get(5);
    assertThat(error)
        .isEqualTo(
            new SrcNode(
                "MLP 0 Error",
                "blocks.0.hook_mlp_out.error",
                2,
                OptionalInt.empty(),
                OptionalInt.empty(),
                Optional.empty(),
                OptionalInt.empty(),
                5));
    assertThat(graph.destModule("blocks.1.hook_mlp_in").nSrcs()).isEqualTo(8);
    assertThat(graph.edge("MLP 0 Error->A1.1.K").src()).isEqualTo(error);
    assertThat(graph.nEdges()).isEqualTo(6 + 3 + 6 * 6 + 8 + 10);
  }

  @Test
  void blocksWithoutAnAutoencoderKeepTheirMlp() {
    ModelGraph graph = graph(latents(Map.of(1, 2)), true);
    assertThat(graph.srcs())
        .extracting(Node::name)
        .contains("MLP 0", "MLP 1 Latent 1")
        .doesNotContain("MLP 1", "MLP 0 Latent 0", "MLP 1 Error");
    assertThat(graph.dests()).extracting(Node::name).contains("MLP 0", "MLP 1");
  }

  @Test
  void anAutoencoderWithoutLatentsHasNoSourceButItsError() {
    assertThat(graph(latents(Map.of(0, 0, 1, 0)), true).srcs())
        .extracting(Node::name)
        .containsExactly("Resid Start", "A0.0", "A0.1", "A1.0", "A1.1");
    assertThat(graph(latents(Map.of(0, 0, 1, 0)).withErrorNodes(true), true).srcs())
        .extracting(Node::name)
        .contains("MLP 0 Error", "MLP 1 Error")
        .hasSize(7);
  }

  @Test
  void residualGraphsHaveLatentsBetweenTheirStreamNodes() {
    ModelGraph graph = graph(latents(Map.of(0, 2, 1, 2)), false);
    assertThat(graph.edges())
        .extracting(Edge::name)
        .contains("MLP 0 Latent 1->Resid Post 0", "Resid Mid 1->Resid End")
        .doesNotContain("MLP 0 Latent 1->Resid End");
  }

  @Test
  void parallelMlpsDoNotReadTheirOwnLatents() {
    TransformerConfig config =
        small().blockKind(BlockKind.PARALLEL).autoencoders(latents(Map.of(0, 3))).build();
    ModelGraph graph = ModelGraph.of(config, true, true);
    SrcNode latent = graph.srcs().get(3);
    assertThat(latent.name()).isEqualTo("MLP 0 Latent 0");
    assertThat(latent.layer()).isEqualTo(1);
    assertThat(graph.destModule("blocks.0.hook_mlp_in").nSrcs()).isEqualTo(1);
  }

  @Test
  void otherAutoencodersAreAnotherGraph() {
    ModelGraph graph = graph(latents(Map.of(0, 2)), true);
    assertThat(graph).isEqualTo(graph(latents(Map.of(0, 2)), true));
    assertThat(graph).isNotEqualTo(graph(latents(Map.of(1, 2)), true));
    assertThat(graph).isNotEqualTo(graph(latents(Map.of(0, 2)).withErrorNodes(true), true));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> graph.index("MLP 0 Latent 2->MLP 1"))
        .withMessageContaining("did you mean 'MLP 0 Latent");
  }

  @Test
  void positionsOfLatentsAreNoPositionsOfEdges() {
    AutoencoderConfig positioned = AutoencoderConfig.of(Map.of(0, 2)).withSeqLen(4);
    assertThat(graph(positioned, true).seqLen()).isEmpty();
    assertThat(graph(positioned, true).nEdges())
        .isEqualTo(graph(latents(Map.of(0, 2)), true).nEdges());
  }
}
