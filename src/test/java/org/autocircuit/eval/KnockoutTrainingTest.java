package org.autocircuit.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.ArrayList;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.known.KnownModel;
import org.autocircuit.known.KnownTask;
import org.autocircuit.model.Model;
import org.autocircuit.pass.Progress;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class KnockoutTrainingTest {

  /** A circuit that lacks an edge is found out by some knockouts that spare what it has. */
  @ParameterizedTest
  @EnumSource(KnownTask.class)
  void findsTheWorstKnockoutsOfAnIncompleteCircuit(KnownTask task) {
    KnownModel known = KnownModel.of(task, false);
    try (Model plain = known.model();
        PatchableModel model = PatchableModel.of(plain, PatchableModelOptions.defaults())) {
      List<PromptPairBatch> batches = known.batches(known.prompts());
      ModelGraph graph = model.graph();
      List<String> some = new ArrayList<>(known.edges());
      some.remove(0);
      EdgeSet circuit = EdgeSet.ofNames(graph, some);
      double found = 0;
      for (int seed = 0; seed < 2; seed++) {
        EdgeSet knockouts =
            KnockoutTraining.builder()
                .seed(seed)
                .build()
                .knockouts(model, batches, circuit, Progress.NONE);
        assertThat(knockouts.indices().allMatch(circuit::contains)).isTrue();
        found = Math.max(found, under(model, batches, circuit, knockouts));
      }
      double worst = 0;
      for (int subset = 0; subset < 1 << some.size(); subset++) {
        List<String> out = new ArrayList<>();
        for (int i = 0; i < some.size(); i++) {
          if ((subset >> i & 1) == 1) {
            out.add(some.get(i));
          }
        }
        worst = Math.max(worst, under(model, batches, circuit, EdgeSet.ofNames(graph, out)));
      }
      assertThat(worst).isGreaterThan(0.5);
      assertThat(found).isGreaterThan(0.95 * worst);
    }
  }

  /** Behind a complete circuit no knockout has anything to gain, so that all of it stays. */
  @Test
  void knocksNothingOutOfACompleteCircuit() {
    KnownModel known = KnownModel.of(KnownTask.REVERSE, false);
    try (Model plain = known.model();
        PatchableModel model = PatchableModel.of(plain, PatchableModelOptions.defaults())) {
      List<PromptPairBatch> batches = known.batches(known.prompts());
      EdgeSet circuit = known.truth(model.graph());
      List<Long> steps = new ArrayList<>();
      EdgeSet found =
          KnockoutTraining.builder()
              .epochs(30)
              .build()
              .knockouts(model, batches, circuit, (done, total) -> steps.add(done));
      assertThat(found.size()).isZero();
      assertThat(steps).hasSize(30).last().isEqualTo(30L);
      assertThat(model.openScopes()).isEmpty();
    }
  }

  @Test
  void misuse() {
    KnockoutTraining.Builder builder = KnockoutTraining.builder();
    assertThatIllegalArgumentException().isThrownBy(() -> builder.epochs(0));
    assertThatIllegalArgumentException().isThrownBy(() -> builder.learningRate(Double.NaN));
    assertThatIllegalArgumentException().isThrownBy(() -> builder.regularizeLambda(-1));
    KnownModel known = KnownModel.of(KnownTask.REVERSE, false);
    try (Model plain = known.model();
        PatchableModel model = PatchableModel.of(plain, PatchableModelOptions.defaults());
        PatchableModel joint = model.withOptions(PatchableModelOptions.defaults().withSeqLen(7))) {
      EdgeSet circuit = known.truth(model.graph());
      assertThatIllegalArgumentException()
          .isThrownBy(() -> builder.build().knockouts(model, List.of(), circuit, Progress.NONE))
          .withMessageContaining("at least one");
      assertThatIllegalArgumentException()
          .isThrownBy(
              () -> builder.build().knockouts(joint, known.batches(48), circuit, Progress.NONE))
          .withMessageContaining("circuit: expected edges of");
    }
  }

  private static double under(
      PatchableModel model, List<PromptPairBatch> batches, EdgeSet circuit, EdgeSet knockouts) {
    return SameUnderKnockouts.measure(model, batches, circuit, knockouts)
        .divergenceUnderKnockouts();
  }
}
