package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.golden.GoldenComparison.assertScalar;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.autocircuit.TestDevice;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
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
import org.autocircuit.prune.CircuitProbing;
import org.autocircuit.prune.FaithfulnessTarget;
import org.autocircuit.prune.MaskTraining;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.SubnetworkProbing;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

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
    if (op.raises() != null) {
      PruneScores scores =
          Acdc.builder().thresholds(0.1).build().pruneScores(g.model(), g.promptPairs());
      assertThat(scores.toArray()).as(op.toString()).doesNotContain(Double.NaN);
      return;
    }
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
    double[] scores = probing(g, op, settings(g, op, SubnetworkProbing.builder())).toArray();
    double[] precise;
    try (GoldenModel inDouble = new GoldenModel(g.golden().inDoublePrecision())) {
      precise = probing(inDouble, op, settings(g, op, SubnetworkProbing.builder())).toArray();
    }
    assertThat(scores).as(op.toString()).doesNotContain(Double.NaN);
    if (op.raises() != null) {
      return;
    }
    double least = GoldenDifferences.leastScore(op);
    int off = 0;
    for (DestModule module : g.graph().destModules()) {
      double[] expected = op.outputByModule("prune_scores").get(module.moduleName()).doubles();
      for (int i = module.offset(); i < module.end(); i++) {
        double rounding = Math.abs(scores[i] - precise[i]);
        off += rounding > 1e-4 ? 1 : 0;
        assertThat(scores[i])
            .as("%s: %s", op, g.graph().edge(i))
            .isCloseTo(expected[i - module.offset()] - least, within(1e-4 + 3 * rounding));
      }
    }
    assertThat(off).as("%s: scores that rounding decides", op).isLessThan(scores.length / 5);
  }

  /**
   * A training for each size, and all in one call. Which edges are in it may depend on rounding
   * where two have almost the same score.
   */
  static void circuitProbing(GoldenModel g, GoldenOp op) {
    int[] sizes = integers(op.param("circuit_sizes"));
    Arrays.sort(sizes);
    List<EdgeSet> circuits = new ArrayList<>();
    Set<Integer> undecided = new HashSet<>();
    for (int size : sizes) {
      SubnetworkProbing.Builder builder =
          SubnetworkProbing.builder().initialValue(-Math.log(5)).circuitSize(size);
      PruneScores scores = probing(g, op, settings(g, op, builder));
      circuits.add(scores.circuit(size));
      try (GoldenModel inDouble = new GoldenModel(g.golden().inDoublePrecision())) {
        PruneScores precise = probing(inDouble, op, settings(inDouble, op, builder));
        IntStream.range(0, scores.size())
            .filter(
                i ->
                    Math.abs(precise.get(i) - precise.threshold(size))
                        < 1e-6 + 3 * Math.abs(scores.get(i) - precise.get(i)))
            .forEach(undecided::add);
      }
    }
    double[] scores = CircuitProbing.ofCircuits(circuits).toArray();
    if (g.takesTokens() && GoldenForwardOps.maskFn(op) != MaskFn.HARD_CONCRETE) {
      CircuitProbing algorithm =
          CircuitProbing.ofSizes(sizes)
              .withSettings(builder -> settings(g, op, builder).epochs(op.param("epochs").asInt()));
      assertThat(algorithm.pruneScores(g.model(), g.promptPairs()).toArray())
          .as(op.toString())
          .isEqualTo(scores);
    }
    if (op.raises() != null) {
      return;
    }
    int tipped = 0;
    for (DestModule module : g.graph().destModules()) {
      double[] expected = op.outputByModule("prune_scores").get(module.moduleName()).doubles();
      for (int i = module.offset(); i < module.end(); i++) {
        if (undecided.contains(i) && scores[i] != expected[i - module.offset()]) {
          tipped++;
          continue;
        }
        assertThat(scores[i])
            .as("%s: %s", op, g.graph().edge(i))
            .isEqualTo(expected[i - module.offset()]);
      }
    }
    assertThat(tipped).as("%s: edges that rounding decides", op).isLessThan(scores.length / 5);
  }

  private static SubnetworkProbing.Builder settings(
      GoldenModel g, GoldenOp op, SubnetworkProbing.Builder builder) {
    boolean tree = op.param("tree_optimisation").asBoolean();
    builder
        .maskFn(GoldenForwardOps.maskFn(op))
        .patchType(tree ? PatchType.TREE_PATCH : PatchType.EDGE_PATCH)
        .learningRate(op.param("learning_rate").asDouble(0.1))
        .regularizeLambda(op.param("regularize_lambda").asDouble(10));
    if (op.param("circuit_size").isInt()) {
      builder.circuitSize(op.param("circuit_size").asInt());
    }
    if (op.param("init_val").isNumber()) {
      builder.initialValue(op.param("init_val").asDouble());
    }
    if (op.param("avoid_edges").isArray() && op.raises() == null) {
      builder
          .avoidEdges(g.edges(op.param("avoid_edges")))
          .avoidLambda(op.param("avoid_lambda").asDouble(1));
    }
    if (target(op).equals("logit_diff_percent") && g.takesTokens()) {
      builder.answerShares();
    }
    return builder;
  }

  private static String target(GoldenOp op) {
    return op.param("faithfulness_target").asText("kl_div");
  }

  private static PruneScores probing(
      GoldenModel g, GoldenOp op, SubnetworkProbing.Builder builder) {
    boolean tree = op.param("tree_optimisation").asBoolean();
    int steps = op.param("epochs").asInt(20) * g.batches();
    DatasetAblation type = DatasetAblation.TOKENWISE_MEAN_CORRUPT;
    try (SourceActivations mean = GoldenForwardOps.ablations(g, "dataloader", type);
        MaskTraining probing = builder.build().begin(g.model(), mean)) {
      for (int step = 0; step < steps; step++) {
        step(g, op, probing, step, g.input(tree ? "clean" : "corrupt", step % g.batches()));
      }
      return probing.scores();
    }
  }

  private static void step(
      GoldenModel g, GoldenOp op, MaskTraining probing, int step, Tensor input) {
    int batch = step % g.batches();
    String target = target(op);
    if (op.hasOutput("u_forward_step" + step)
        && GoldenForwardOps.maskFn(op) == MaskFn.HARD_CONCRETE) {
      probing.step(
          ModelInput.of(input),
          divergence(g, batch),
          Noise.uniforms(g.perExample(op.outputByModule("u_forward_step" + step))),
          Noise.uniforms(countUniforms(g, op, op.output("u_regularizer_step" + step))));
    } else if (List.of("kl_div", "logit_diff_percent").contains(target) && g.takesTokens()) {
      probing.step(g.promptPairs().get(batch));
    } else if (target.equals("kl_div")) {
      probing.step(ModelInput.of(input), divergence(g, batch));
    } else if (target.equals("logit_diff_percent")) {
      probing.step(ModelInput.of(input), sharesLoss(g, batch));
    } else {
      String key = target.equals("answer") ? "data/answers" : "data/wrong_answers";
      long[][] answers = g.tokens(key, batch);
      probing.step(
          ModelInput.of(input),
          AnswerLoss.of(GradFunction.LOGIT, AnswerFunction.AVG_VAL, answers, answers)::loss);
    }
  }

  /** Per cent that a prompt's answer difference is from the full model's, in plain operations. */
  private static UnaryOperator<Tensor> sharesLoss(GoldenModel g, int batch) {
    Tensor right = g.rows("data/answers", batch);
    Tensor wrong = g.rows("data/wrong_answers", batch);
    UnaryOperator<Tensor> differences =
        logits -> logits.gather(1, right).mean(1).sub(logits.gather(1, wrong).mean(1));
    Tensor full =
        differences.apply(g.model().forward(g.input("clean", batch), PatchContext.NONE)).detach();
    return logits ->
        differences.apply(logits).div(full).mul(new Scalar(-100)).add(new Scalar(100)).abs().mean();
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
