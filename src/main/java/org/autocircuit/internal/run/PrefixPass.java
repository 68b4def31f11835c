package org.autocircuit.internal.run;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.BlockHooks;
import org.autocircuit.internal.CallScope;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/** Makes prefixes, and checks that models and batches can take them. */
public final class PrefixPass {

  private PrefixPass() {}

  private static final Access.OfPrefixCache<PrefixCache> PREFIXES =
      Access.prefixCache(PrefixCache.class);

  /**
   * Keys and values of a plain pass over a prefix, behind those of the passes' own prefix.
   *
   * @param tokens {@code [1 or batch, prefix]}
   */
  static PrefixCache of(Passes passes, CallScope scope, ModelConfig structure, Tensor tokens) {
    if (!(structure instanceof TransformerConfig config)) {
      throw new IllegalArgumentException(
          "model: expected one with attention, got one of " + structure);
    }
    List<String> hooks = new ArrayList<>(BlockHooks.ofAll(config.nLayers(), BlockHooks.K));
    hooks.addAll(BlockHooks.ofAll(config.nLayers(), BlockHooks.V));
    ForwardRequest request =
        ForwardRequest.of(tokens)
            .withGrad(false)
            .withOutputSlice(OutputSlice.LAST_SEQ)
            .withReads(hooks);
    List<Tensor> results = passes.run(scope, request, PatchContext.NONE);
    int values0 = 1 + config.nLayers(); // after the logits and the keys
    List<Tensor> ownKeys = results.subList(1, values0);
    List<Tensor> ownValues = results.subList(values0, results.size());
    if (passes.prefix().isPresent()) {
      PrefixCache before = passes.prefix().get();
      ownKeys = behind(before.keys(), ownKeys);
      ownValues = behind(before.values(), ownValues);
    }
    return PrefixCache.of(ownKeys, ownValues);
  }

  private static List<Tensor> behind(List<Tensor> firsts, List<Tensor> entries) {
    List<Tensor> both = new ArrayList<>();
    for (int i = 0; i < entries.size(); i++) {
      long[] rows = firsts.get(i).shape();
      rows[0] = entries.get(i).size(0);
      both.add(torch.cat(new TensorVector(firsts.get(i).expand(rows), entries.get(i)), 1));
    }
    return both;
  }

  /**
   * Refuses a prefix of another kind of model.
   *
   * @throws IllegalStateException if it is closed
   */
  public static void requireFits(
      PrefixCache prefix, ModelConfig config, Precision precision, String device) {
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, prefix::use);
      requireOpenFits(prefix, config, precision, device);
    }
  }

  /** As {@link #requireFits}, within a use and a scope. */
  static void requireOpenFits(
      PrefixCache prefix, ModelConfig config, Precision precision, String device) {
    if (!(config instanceof TransformerConfig transformer)) {
      throw new IllegalArgumentException(
          "prefix: expected none, since a model of %s has no attention".formatted(config));
    }
    List<Tensor> entries = PREFIXES.entries(prefix);
    int blocks = entries.size() / 2;
    Tensor first = entries.get(0);
    if (first.size(2) != transformer.nKeyValueHeads()
        || first.size(3) != transformer.dHead()
        || blocks != transformer.nLayers()
        || first.scalar_type().intern() != precision.scalarType()
        || !Arguments.isOn(device, first)) {
      throw new IllegalArgumentException(
          ("prefix: expected %s = [any, any, %s, %s] of %s on %s in %s blocks, got %s of %s on %s"
                  + " in %s")
              .formatted(
                  "[1 or batch, prefix, key/value heads, d_head]",
                  transformer.nKeyValueHeads(),
                  transformer.dHead(),
                  precision.scalarType(),
                  device,
                  transformer.nLayers(),
                  Arrays.toString(first.shape()),
                  first.scalar_type().intern(),
                  Arguments.deviceOf(first),
                  blocks));
    }
  }

  /** Refuses a batch of another size than the cache's own. */
  static void requireServes(PrefixCache prefix, long batch) {
    if (prefix.batch() != 1 && prefix.batch() != batch) {
      throw new IllegalArgumentException(
          "prefix: expected one row for all prompts or one for each of %s, got %s rows"
              .formatted(batch, prefix.batch()));
    }
  }
}
