package org.autocircuit.prune;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.TestModels;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class NodeScoreTest {

  private static final double STEP = 1e-5;

  /** Attribution of a node is the slope of the loss as all its edges are patched a little. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void nodesHaveTheSlopeOfPatchingAllTheirEdges(boolean positions) {
    PromptPairBatch batch = TestModels.batch(3, 5, 10);
    PatchableModelOptions options = PatchableModelOptions.defaults();
    try (PatchableModel model =
        TestModels.patchable(Precision.FLOAT64, positions ? options.withSeqLen(5) : options)) {
      List<NodeScore> nodes =
          NodeScore.of(MaskGradient.builder().build().pruneScores(model, List.of(batch)));
      assertThat(nodes).hasSize(model.graph().srcs().size());
      double last = Double.POSITIVE_INFINITY;
      for (NodeScore node : nodes) {
        double slope =
            (loss(model, batch, node.node().name(), STEP)
                    - loss(model, batch, node.node().name(), -STEP))
                / (2 * STEP);
        assertThat(node.score()).as(node.toString()).isCloseTo(slope, within(1e-6));
        assertThat(Math.abs(node.score())).isLessThanOrEqualTo(last);
        last = Math.abs(node.score());
      }
    }
  }

  private static double loss(
      PatchableModel model, PromptPairBatch batch, String source, double value) {
    ModelGraph graph = model.graph();
    double[] masks = new double[graph.nEdges()];
    Arrays.setAll(masks, i -> graph.edge(i).src().name().equals(source) ? value : 0);
    try (PointerScope scope = new PointerScope();
        SourceActivations corrupt =
            model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE)) {
      return AnswerLoss.of(
              GradFunction.LOGIT, AnswerFunction.AVG_DIFF, batch.answers(), batch.wrongAnswers())
          .loss(
              model
                  .forward(
                      ForwardRequest.of(batch.clean())
                          .withContext(PatchContext.of(corrupt, Masks.of(graph, masks)))
                          .withOutputSlice(OutputSlice.LAST_SEQ))
                  .logits())
          .item_double();
    }
  }
}
