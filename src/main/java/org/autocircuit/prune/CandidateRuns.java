package org.autocircuit.prune;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Collections;
import java.util.List;
import org.autocircuit.ForwardRequest;
import org.autocircuit.ForwardResult;
import org.autocircuit.ModelInput;
import org.autocircuit.PatchableModel;
import org.autocircuit.PrefixCache;
import org.autocircuit.graph.DestNode;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.CallScope;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;

/**
 * Runs of one batch that differ in the edges that are patched, several in one pass: each prompt
 * comes once for each candidate, with the candidate's masks. Where no edge into a block or an
 * earlier one is patched, the pass begins at that block, with the clean run's residual stream and
 * source outputs.
 *
 * <p>The tensors belong to the scope in which this is made, which must outlive it.
 */
final class CandidateRuns {

  private final PatchableModel model;
  private final ModelInput clean;
  private final SourceActivations patch;
  private final OutputSlice slice;
  private final long batch;
  private final Tensor logits;
  private final Tensor sourceOutputs;

  /** The streams that enter the blocks; at 0 the input itself. */
  private final List<Tensor> residuals = new ArrayList<>();

  private final Tensor repeatedPatch;
  private final Tensor repeatedSourceOutputs;

  /**
   * Makes the clean run.
   *
   * @param most candidates of one pass
   */
  CandidateRuns(
      PatchableModel model,
      ModelInput clean,
      SourceActivations patch,
      OutputSlice slice,
      int most) {
    this.model = model;
    this.clean = clean;
    this.patch = patch;
    this.slice = slice;
    List<String> entries = new ArrayList<>();
    for (int block = 1; block < model.config().nLayers(); block++) {
      entries.add(entry(block));
    }
    ForwardResult run =
        model.forward(
            ForwardRequest.of(clean)
                .withContext(PatchContext.NONE)
                .withOutputSlice(slice)
                .withGrad(false)
                .withSourceOutputs()
                .withReads(entries));
    batch = clean.value().size(0);
    logits = run.logits();
    sourceOutputs = run.sourceOutputs().orElseThrow();
    residuals.add(clean.value());
    entries.forEach(entry -> residuals.add(run.read(entry)));
    repeatedPatch = most == 1 ? null : repeatedSources(patch.tensor(), most);
    repeatedSourceOutputs = most == 1 ? null : repeatedSources(sourceOutputs, most);
  }

  /** The block that a destination is in. */
  static int block(PatchableModel model, DestNode dest) {
    String[] words = dest.moduleName().split("\\.", -1);
    return switch (words[0]) {
      case "blocks", "resids" -> Integer.parseInt(words[1]);
      default -> model.config().nLayers() - 1; // the micro model's output
    };
  }

  /** Logits of the unpatched run, {@code [batch, ..., d_vocab]}. */
  Tensor cleanLogits() {
    return logits;
  }

  /**
   * Logits of patched runs; handed out.
   *
   * @param block none of the patched edges leads into an earlier one
   * @param patched for each candidate the indices of the edges that are patched. A single candidate
   *     runs as it would without this class: in a batch of the same shape as the clean run
   * @return {@code [candidates, batch, ..., d_vocab]}
   */
  Tensor logits(int block, List<BitSet> patched) {
    int candidates = patched.size();
    try (CallScope scope = new CallScope()) {
      Tensor all = candidates == 1 ? one(block, patched.get(0)) : many(block, patched);
      long[] shape = all.shape();
      long[] split = new long[shape.length + 1];
      split[0] = candidates;
      System.arraycopy(shape, 0, split, 1, shape.length);
      split[1] = batch;
      return scope.handOut(all.view(split));
    }
  }

  private Tensor one(int block, BitSet patched) {
    ModelInput input = new ModelInput(residuals.get(block), clean.attentionMask(), clean.prefix());
    return run(block, input, sourceOutputs, PatchContext.of(patch, masks(patched)));
  }

  private Tensor many(int block, List<BitSet> patched) {
    int candidates = patched.size();
    List<double[]> masks = new ArrayList<>();
    for (BitSet edges : patched) {
      masks.addAll(Collections.nCopies(Math.toIntExact(batch), masks(edges).toArray()));
    }
    Masks perExample = Masks.perExample(model.graph(), masks.toArray(double[][]::new));
    try (SourceActivations activations = SourceActivations.of(rows(repeatedPatch, candidates));
        PrefixCache prefix = repeatedPrefix(candidates)) {
      ModelInput input =
          new ModelInput(
              repeated(residuals.get(block), candidates),
              clean.attentionMask().map(mask -> repeated(mask, candidates)),
              clean.prefix());
      return run(
          block,
          prefix == null ? input : input.withPrefix(prefix),
          rows(repeatedSourceOutputs, candidates),
          PatchContext.of(activations, perExample));
    }
  }

  private Tensor run(int block, ModelInput input, Tensor startSourceOutputs, PatchContext context) {
    ForwardRequest request = ForwardRequest.of(input);
    if (block > 0) {
      request =
          ForwardRequest.startingAt(block, input.value())
              .withStartSourceOutputs(startSourceOutputs);
      if (input.attentionMask().isPresent()) {
        request = request.withAttentionMask(input.attentionMask().get());
      }
      if (input.prefix().isPresent()) {
        request = request.withPrefix(input.prefix().get());
      }
    }
    return model
        .forward(request.withContext(context).withOutputSlice(slice).withGrad(false))
        .logits();
  }

  private Masks masks(BitSet patched) {
    return Masks.ofEdges(EdgeSet.ofIndices(model.graph(), patched));
  }

  /** A prefix that differs from prompt to prompt, for all candidates; {@code null}: as it is. */
  private PrefixCache repeatedPrefix(int candidates) {
    PrefixCache prefix = clean.prefix().or(model::prefix).orElse(null);
    if (prefix == null || prefix.batch() == 1) {
      return null;
    }
    return PrefixCache.of(
        prefix.keys().stream().map(keys -> repeated(keys, candidates)).toList(),
        prefix.values().stream().map(values -> repeated(values, candidates)).toList());
  }

  /** {@code [batch, ...]} to {@code [candidates * batch, ...]}. */
  private static Tensor repeated(Tensor tensor, int candidates) {
    long[] repeats = new long[Math.toIntExact(tensor.dim())];
    Arrays.fill(repeats, 1);
    repeats[0] = candidates;
    return tensor.repeat(repeats);
  }

  /** {@code [n_srcs, batch, ...]} to {@code [n_srcs, most * batch, ...]}. */
  private static Tensor repeatedSources(Tensor sources, int most) {
    return sources.size(1) == 1 ? sources : sources.repeat(1, most, 1, 1);
  }

  private Tensor rows(Tensor repeated, int candidates) {
    return repeated.size(1) == 1 ? repeated : repeated.narrow(1, 0, candidates * batch);
  }

  private String entry(int block) {
    return model.config() instanceof TransformerConfig
        ? "blocks." + block + ".hook_resid_pre"
        : "resids." + (block - 1);
  }
}
