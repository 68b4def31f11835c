package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.golden.GoldenComparison.assertScalar;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.autocircuit.TestDevice;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.Edge;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Noise;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.Acdc;
import org.autocircuit.prune.ActivationMagnitude;
import org.autocircuit.prune.FaithfulnessTarget;
import org.autocircuit.prune.MaskTraining;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.SubnetworkProbing;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Assumptions;

/** The reference's operations that search for circuits. */
final class GoldenPruneOps {

  /** Counts the cases in which all decisions of ACDC agreed, so that scores were compared. */
  static int acdcScores;

  private GoldenPruneOps() {}

  /**
   * Magnitudes of sources, which all their edges share. The reference gives a destination's edges
   * those of as many sources, from the first.
   */
  static void activationMagnitude(GoldenModel g, GoldenOp op) {
    double[] scores = new double[g.graph().nEdges()];
    for (int batch = 0; batch < g.batches(); batch++) {
      try (SourceActivations clean =
          g.model().sourceAblations(g.input("clean", batch), BatchAblation.RESAMPLE)) {
        double[] some = ActivationMagnitude.of(g.graph(), clean).toArray();
        Arrays.setAll(scores, i -> scores[i] + some[i] / g.batches());
      }
    }
    if (g.takesTokens()) {
      ActivationMagnitude algorithm = new ActivationMagnitude().ofBatchMeans();
      assertThat(algorithm.pruneScores(g.model(), g.promptPairs()).toArray())
          .as(op.toString())
          .containsExactly(scores, within(1e-9));
    }
    double[] magnitudes = new double[g.graph().srcs().size()];
    for (int i = 0; i < scores.length; i++) {
      magnitudes[g.graph().edge(i).src().srcIdx()] = scores[i];
    }
    for (DestModule module : g.graph().destModules()) {
      double[] expected = op.outputByModule("prune_scores").get(module.moduleName()).doubles();
      for (int i = 0; i < module.size(); i++) {
        int src = i % module.nSrcs();
        assertThat(scores[module.offset() + i]).isEqualTo(magnitudes[module.inStart() + src]);
      }
      for (int i = 0; i < expected.length; i++) {
        String what = module.moduleName() + " " + i;
        assertScalar(op, what, magnitudes[i % module.nSrcs()], expected[i]);
      }
    }
  }

  /** Twice: by incremental runs, and by whole ones. */
  static void acdc(GoldenModel g, GoldenOp op) {
    List<Edge> order = g.edges(order(op));
    for (boolean sequential : new boolean[] {false, true}) {
      List<Acdc.Decision> decisions = new ArrayList<>();
      Acdc.Builder acdc =
          Acdc.builder()
              .faithfulnessTarget(faithfulness(op))
              .thresholdGrid(numbers(op.param("tao_bases")), integers(op.param("tao_exps")))
              .edgeOrder(order)
              .listener(decisions::add);
      if (sequential) {
        acdc.sequential();
      }
      try (SourceActivations corrupt =
          g.model().sourceAblations(g.input("corrupt", 0), BatchAblation.RESAMPLE)) {
        PruneScores scores =
            acdc.build().search(g.model(), ModelInput.of(g.input("clean", 0)), corrupt).scores();
        assertDecisions(op, order, decisions, scores);
      }
    }
  }

  /**
   * If the reference's test was so close to the threshold that rounding may tip it, and did, what
   * comes after it cannot be compared, nor can scores.
   */
  private static void assertDecisions(
      GoldenOp op, List<Edge> order, List<Acdc.Decision> decisions, PruneScores scores) {
    List<Edge> visited =
        order.stream().sorted(Comparator.comparing(edge -> -edge.dest().layer())).toList();
    JsonNode thresholds = op.scalar("taos_in_order");
    double[] faith = op.output("faith").doubles();
    assertThat(decisions).as(op.toString()).hasSize(faith.length);
    boolean allAgree = true;
    for (int t = 0; t < thresholds.size(); t++) {
      double threshold = thresholds.get(t).asDouble();
      double previous = 0;
      boolean agree = true;
      for (int i = 0; agree && i < visited.size(); i++) {
        int at = t * visited.size() + i;
        Acdc.Decision decision = decisions.get(at);
        assertThat(decision.edge()).as("%s %d", op, at).isEqualTo(visited.get(i));
        assertThat(decision.threshold()).isCloseTo(threshold, within(1e-12));
        assertScalar(op, "faith " + at, decision.divergence(), faith[at]);
        double tolerance = (op.goldenCase().isDouble() ? 1e-9 : 1e-5) * (1 + faith[at]);
        boolean remove = faith[at] - previous < threshold;
        if (Math.abs(faith[at] - previous - threshold) > tolerance) {
          assertThat(decision.removed())
              .as("%s: %s at %s, %s after %s", op, decision, threshold, faith[at], previous)
              .isEqualTo(remove);
        }
        agree = decision.removed() == remove;
        previous = remove ? faith[at] : previous;
      }
      allAgree &= agree;
    }
    if (allAgree) {
      assertScores(op, scores);
      acdcScores++;
    }
  }

  /**
   * With the reference's uniforms where masks are samples. Adam takes whole steps along the
   * smallest gradients, even those that are nothing but rounding, so the tolerance grows with what
   * double precision changes.
   */
  static void subnetworkProbing(GoldenModel g, GoldenOp op) {
    if (op.param("avoid_edges").isArray()
        || op.param("faithfulness_target").asText().equals("logit_diff_percent")) {
      Assumptions.abort("neither edges to avoid nor shares of a logit difference");
    }
    double[] scores = probingScores(g, op);
    double[] precise;
    try (GoldenModel inDouble = new GoldenModel(g.golden().inDoublePrecision())) {
      precise = probingScores(inDouble, op);
    }
    int off = 0;
    for (DestModule module : g.graph().destModules()) {
      double[] expected = op.outputByModule("prune_scores").get(module.moduleName()).doubles();
      for (int i = module.offset(); i < module.end(); i++) {
        double rounding = Math.abs(scores[i] - precise[i]);
        off += rounding > 1e-4 ? 1 : 0;
        assertThat(scores[i])
            .as("%s: %s", op, g.graph().edge(i))
            .isCloseTo(expected[i - module.offset()], within(1e-4 + 3 * rounding));
      }
    }
    assertThat(off).as("%s: scores that rounding decides", op).isLessThan(scores.length / 5);
  }

  private static double[] probingScores(GoldenModel g, GoldenOp op) {
    boolean tree = op.param("tree_optimisation").asBoolean();
    SubnetworkProbing.Builder builder =
        SubnetworkProbing.builder()
            .maskFn(GoldenForwardOps.maskFn(op))
            .patchType(tree ? PatchType.TREE_PATCH : PatchType.EDGE_PATCH)
            .learningRate(op.param("learning_rate").asDouble())
            .regularizeLambda(op.param("regularize_lambda").asDouble(10));
    if (op.param("circuit_size").isInt()) {
      builder.circuitSize(op.param("circuit_size").asInt());
    }
    if (op.param("init_val").isNumber()) {
      builder.initialValue(op.param("init_val").asDouble());
    }
    int steps = op.param("epochs").asInt() * g.batches();
    DatasetAblation type = DatasetAblation.TOKENWISE_MEAN_CORRUPT;
    try (SourceActivations mean = GoldenForwardOps.ablations(g, "dataloader", type);
        MaskTraining probing = builder.build().begin(g.model(), mean)) {
      for (int step = 0; step < steps; step++) {
        step(g, op, probing, step, g.input(tree ? "clean" : "corrupt", step % g.batches()));
      }
      return probing.scores().toArray();
    }
  }

  private static void step(
      GoldenModel g, GoldenOp op, MaskTraining probing, int step, Tensor input) {
    int batch = step % g.batches();
    String target = op.param("faithfulness_target").asText("kl_div");
    if (GoldenForwardOps.maskFn(op) == MaskFn.HARD_CONCRETE) {
      probing.step(
          ModelInput.of(input),
          divergence(g, batch),
          Noise.uniforms(g.perExample(op.outputByModule("u_forward_step" + step))),
          Noise.uniforms(countUniforms(g, op, op.output("u_regularizer_step" + step))));
    } else if (target.equals("kl_div") && g.takesTokens()) {
      probing.step(g.promptPairs().get(batch));
    } else if (target.equals("kl_div")) {
      probing.step(ModelInput.of(input), divergence(g, batch));
    } else {
      String key = target.equals("answer") ? "data/answers" : "data/wrong_answers";
      long[][] answers = g.tokens(key, batch);
      probing.step(
          ModelInput.of(input),
          AnswerLoss.of(GradFunction.LOGIT, AnswerFunction.AVG_VAL, answers, answers)::loss);
    }
  }

  /** From the full model on clean prompts. */
  private static UnaryOperator<Tensor> divergence(GoldenModel g, int batch) {
    Tensor clean =
        torch.log_softmax(g.model().forward(g.input("clean", batch), PatchContext.NONE), -1);
    return logits -> clean.exp().mul(clean.sub(torch.log_softmax(logits, -1))).sum(-1).mean();
  }

  /** From the order of the operation to that of edge indices. */
  private static Tensor countUniforms(GoldenModel g, GoldenOp op, GoldenTensor given) {
    double[] uniforms = new double[g.graph().maskSize()];
    int from = 0;
    for (JsonNode name : op.param("flat_mask_order")) {
      DestModule module = g.graph().destModule(name.asText());
      System.arraycopy(given.doubles(), from, uniforms, module.offset(), module.size());
      from += module.size();
    }
    return TensorArrays.of(
        uniforms,
        g.golden().isDouble() ? ScalarType.Double : ScalarType.Float,
        TestDevice.NAME,
        1,
        uniforms.length);
  }

  private static void assertScores(GoldenOp op, PruneScores scores) {
    for (DestModule module : scores.graph().destModules()) {
      double[] expected = op.outputByModule("prune_scores").get(module.moduleName()).doubles();
      for (int i = 0; i < expected.length; i++) {
        assertScalar(
            op, module.moduleName() + " " + i, scores.get(module.offset() + i), expected[i]);
      }
    }
  }

  /** The order of the operation itself, or of the one before it that gives one. */
  private static JsonNode order(GoldenOp op) {
    JsonNode order = null;
    for (GoldenOp other : op.goldenCase().ops("acdc")) {
      JsonNode given = other.param("edge_order_list");
      order = given.isArray() ? given : order;
      if (other.id() == op.id()) {
        return order;
      }
    }
    throw new IllegalStateException(op + " is not in its case");
  }

  private static FaithfulnessTarget faithfulness(GoldenOp op) {
    return FaithfulnessTarget.valueOf(
        op.param("faithfulness_target").asText().toUpperCase(Locale.ROOT));
  }

  private static double[] numbers(JsonNode list) {
    return IntStream.range(0, list.size()).mapToDouble(i -> list.get(i).asDouble()).toArray();
  }

  private static int[] integers(JsonNode list) {
    return IntStream.range(0, list.size()).map(i -> list.get(i).asInt()).toArray();
  }
}
