package org.autocircuit.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.autocircuit.golden.GoldenComparison.assertActivations;
import static org.autocircuit.golden.GoldenComparison.assertScalar;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.graph.Edge;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;

/** The reference's operations that run a model, patched or not. */
final class GoldenForwardOps {

  private GoldenForwardOps() {}

  static void forward(GoldenModel g, GoldenOp op) {
    Tensor input = g.input(op.param("input").asText(), op.param("batch").asInt());
    Tensor full =
        g.model().forward(ForwardRequest.of(input).withOutputSlice(OutputSlice.ALL)).logits();
    assertActivations(op, "logits", full, op.output("logits"));
    assertSliced(g, op, g.model().forward(input));
    assertSliced(g, op, g.model().forward(input, PatchContext.NONE));
  }

  static void srcAblations(GoldenModel g, GoldenOp op) {
    Ablation type = Ablation.named(op.param("ablation_type").asText());
    String sample = op.param("sample").asText();
    try (SourceActivations activations = ablations(g, sample, type)) {
      Tensor tensor = activations.tensor();
      if (sample.equals("dataloader") && tensor.size(1) == 1) {
        long[] shape = tensor.shape();
        tensor = tensor.expand(shape[0], g.golden().batch(), shape[2], shape[3]);
      }
      assertActivations(op, "src_outs", tensor, op.output("src_outs"));
      assertThat(activations.ablation()).contains(type);
    }
  }

  /** Ablations from a batch such as {@code "corrupt batch 0"} or from the whole data set. */
  static SourceActivations ablations(GoldenModel g, String sample, Ablation type) {
    if (type instanceof BatchAblation ofOne) {
      return g.model().sourceAblations(g.input(sample), ofOne);
    }
    DatasetAblation ofAll = (DatasetAblation) type;
    if (!g.takesTokens()) {
      return g.model()
          .sourceAblations(
              List.of(g.input("clean", 0), g.input("clean", 1)),
              List.of(g.input("corrupt", 0), g.input("corrupt", 1)),
              ofAll);
    }
    return g.model().sourceAblations(g.promptPairs(), ofAll);
  }

  static void patchEdges(GoldenModel g, GoldenOp op) {
    List<Edge> edges = g.edges(op.param("edges"));
    Tensor input = g.input(op.param("input").asText());
    double[] masks = g.flat(op.outputByModule("masks"));
    try (SourceActivations activations = g.activations(op)) {
      try (PatchMode mode = g.model().patchMode(activations, edges)) {
        assertThat(mode.masks().toArray()).as(op.toString()).isEqualTo(masks);
        assertFull(
            op, g.model().forward(ForwardRequest.of(input).withOutputSlice(OutputSlice.ALL)));
        assertSliced(g, op, g.model().forward(input));
      }
      assertThat(Masks.ofEdges(g.graph(), edges).toArray()).isEqualTo(masks);
      assertPatched(
          g, op, PatchContext.of(activations, Masks.ofEdges(g.graph(), edges)), input, false);
    }
  }

  /**
   * The reference ignores names of edges that do not exist; here they are errors. What it computes
   * with the names that are left is the same.
   */
  static void patchEdgesByName(GoldenModel g, GoldenOp op) {
    List<String> known = new ArrayList<>();
    List<String> unknown = new ArrayList<>();
    List<String> all = new ArrayList<>();
    for (JsonNode name : op.param("edge_names")) {
      boolean exists = g.graph().edges().stream().anyMatch(e -> e.name().equals(name.asText()));
      (exists ? known : unknown).add(name.asText());
      all.add(name.asText());
    }
    Tensor input = g.input(op.param("input").asText());
    try (SourceActivations activations = g.activations(op)) {
      if (!unknown.isEmpty()) {
        assertThatThrownBy(() -> g.model().patchModeByName(activations, all))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessageContaining(unknown.get(0));
        assertThat(g.model().openScopes()).isEmpty();
      }
      try (PatchMode mode = g.model().patchModeByName(activations, known)) {
        assertThat(mode.masks().toArray())
            .as(op.toString())
            .isEqualTo(g.flat(op.outputByModule("masks")));
        assertFull(
            op, g.model().forward(ForwardRequest.of(input).withOutputSlice(OutputSlice.ALL)));
      }
    }
  }

  static void patchMask(GoldenModel g, GoldenOp op) {
    Tensor input = g.input(op.param("input").asText());
    try (SourceActivations activations = g.activations(op)) {
      PatchContext context =
          PatchContext.builder(activations, Masks.of(g.graph(), g.flat(op.inputByModule("masks"))))
              .maskFn(maskFn(op))
              .build();
      assertPatched(g, op, context, input, op.hasOutput("curr_src_outs"));
    }
  }

  static void patchMaskAllOnes(GoldenModel g, GoldenOp op) {
    Tensor input = g.input(op.param("input").asText());
    try (SourceActivations activations = g.activations(op)) {
      assertPatched(g, op, PatchContext.of(activations, Masks.uniform(g.graph(), 1)), input, false);
    }
  }

  static void patchMaskAttentionMask(GoldenModel g, GoldenOp op) {
    Tensor input = g.input(op.param("input").asText());
    try (SourceActivations activations = g.activations(op)) {
      Masks masks = Masks.of(g.graph(), g.flat(op.inputByModule("masks")));
      ForwardRequest request =
          ForwardRequest.of(input)
              .withAttentionMask(g.tensor(op.input("attention_mask")))
              .withOutputSlice(OutputSlice.ALL);
      assertActivations(
          op,
          "logits_unpatched",
          g.model().forward(request).logits(),
          op.output("logits_unpatched"));
      assertFull(op, g.model().forward(request.withContext(PatchContext.of(activations, masks))));
    }
  }

  static void patchStartAtLayer(GoldenModel g, GoldenOp op) {
    try (SourceActivations activations = g.activations(op)) {
      Masks masks = Masks.of(g.graph(), g.flat(op.inputByModule("masks")));
      ForwardResult result =
          g.model()
              .forward(
                  ForwardRequest.startingAt(
                          op.param("start_at_layer").asInt(), g.tensor(op.output("resid_pre")))
                      .withStartSourceOutputs(g.tensor(op.input("curr_src_outs")))
                      .withContext(PatchContext.of(activations, masks))
                      .withOutputSlice(OutputSlice.ALL)
                      .withSourceOutputs());
      assertFull(op, result);
      assertActivations(
          op,
          "curr_src_outs_after",
          result.sourceOutputs().orElseThrow(),
          op.output("curr_src_outs_after"));
    }
  }

  static void prefix(GoldenModel g, PrefixCache given) {
    Tensor tokens = g.tensor(g.golden().tensor("data/prefix_tokens"));
    try (PrefixCache made = g.withoutPrefix().prefixOf(tokens)) {
      assertThat(made.length()).isEqualTo(given.length()).isPositive();
      assertThat(made.batch()).isEqualTo(given.batch());
      assertEqual("keys", made.keys(), given.keys());
      assertEqual("values", made.values(), given.values());
    }
  }

  private static void assertEqual(String what, List<Tensor> actual, List<Tensor> expected) {
    for (int block = 0; block < expected.size(); block++) {
      assertThat(TensorArrays.doubles(actual.get(block)))
          .as("%s of block %d", what, block)
          .containsExactly(TensorArrays.doubles(expected.get(block)), within(1e-5));
    }
  }

  static MaskFn maskFn(GoldenOp op) {
    return switch (op.param("mask_fn").asText("null")) {
      case "null", "" -> MaskFn.NONE;
      case "sigmoid" -> MaskFn.SIGMOID;
      case "hard_concrete" -> MaskFn.HARD_CONCRETE;
      default -> throw new IllegalArgumentException(op + ": unknown mask_fn");
    };
  }

  private static void assertPatched(
      GoldenModel g, GoldenOp op, PatchContext context, Tensor input, boolean sources) {
    ForwardRequest request =
        ForwardRequest.of(input).withContext(context).withOutputSlice(OutputSlice.ALL);
    assertFull(op, g.model().forward(request));
    assertSliced(g, op, g.model().forward(input, context));
    if (sources) {
      ForwardResult recorded = g.model().forward(request.withSourceOutputs());
      assertFull(op, recorded);
      assertActivations(
          op, "curr_src_outs", recorded.sourceOutputs().orElseThrow(), op.output("curr_src_outs"));
    }
  }

  private static void assertFull(GoldenOp op, ForwardResult result) {
    assertActivations(op, "logits", result.logits(), op.output("logits"));
  }

  /** Logits of the model's own slice against that part of the reference's full logits. */
  private static void assertSliced(GoldenModel g, GoldenOp op, Tensor logits) {
    Tensor expected = g.sliced(g.tensor(op.output("logits"))).contiguous();
    assertThat(logits.shape()).as("%s: shape of sliced logits", op).isEqualTo(expected.shape());
    double[] wanted = TensorArrays.doubles(expected);
    double[] actual = TensorArrays.doubles(logits);
    for (int i = 0; i < wanted.length; i++) {
      assertScalar(op, "sliced logits " + i, actual[i], wanted[i]);
    }
  }
}
