package org.autocircuit.graph;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.IntStream;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.model.TransformerConfig;

/**
 * Walks through a model in the order of a forward pass and lists its sources, its destinations and
 * their modules. What a destination may read is what the walk has met before it: everything in a
 * factorised graph, everything since the last residual node (which stands for what came before it)
 * in a residual graph.
 */
final class GraphLayout {

  /** Activations of modules with heads are {@code [batch, seq, head, d_model]}. */
  private static final int HEAD_DIM = 2;

  final List<SrcNode> srcs = new ArrayList<>();
  final List<DestNode> dests = new ArrayList<>();
  final List<SrcModule> srcModules = new ArrayList<>();
  final List<DestModule> destModules = new ArrayList<>();

  /** Number of values in the flat vector; a long because large graphs with positions overflow. */
  long maskSize;

  private final int seqLen;
  private int layer;

  private GraphLayout(int seqLen) {
    this.seqLen = seqLen;
  }

  static GraphLayout of(
      ModelConfig config,
      boolean factorized,
      boolean separateQkv,
      boolean ungroupKeyValues,
      int seqLen) {
    GraphLayout layout = new GraphLayout(seqLen);
    if (config instanceof TransformerConfig transformer) {
      if (factorized) {
        layout.factorizedTransformer(transformer, separateQkv, ungroupKeyValues);
      } else {
        layout.residualTransformer(transformer);
      }
    } else if (config instanceof MicroModelConfig micro) {
      layout.microModel(micro, factorized);
    } else {
      throw new IllegalArgumentException("no graph is defined for " + config);
    }
    return layout;
  }

  private void factorizedTransformer(
      TransformerConfig config, boolean separateQkv, boolean ungroupKeyValues) {
    int heads = config.nHeads();
    int keyValueHeads = ungroupKeyValues ? heads : config.nKeyValueHeads();
    int sharedBy = heads / keyValueHeads;
    source("Resid Start", "blocks.0.hook_resid_pre", "embed.W_E");
    for (int block = 0; block < config.nLayers(); block++) {
      String prefix = "blocks." + block + ".";
      String attention = "A" + block + ".";
      layer++;
      if (separateQkv) {
        for (String input : List.of("Q", "K", "V")) {
          headDests(
              attention,
              "." + input,
              prefix + "hook_" + input.toLowerCase(Locale.ROOT) + "_input",
              prefix + "attn.W_" + input,
              input.equals("Q") ? heads : keyValueHeads,
              input.equals("Q") ? 1 : sharedBy);
        }
      } else {
        headDests(attention, "", prefix + "hook_attn_in", prefix + "attn.W_QKV", heads, 1);
      }
      if (config.blockKind() == BlockKind.PARALLEL) {
        // Of the same layer as the heads, and before they are sources: it does not read them.
        mlpDest(block);
      }
      headSources(attention, prefix + "attn.hook_result", prefix + "attn.W_O", heads);
      if (config.blockKind() == BlockKind.SEQUENTIAL) {
        layer++;
        mlpDest(block);
      }
      if (config.hasMlp()) {
        mlpSources(config, block);
      }
    }
    layer++;
    String last = "blocks." + (config.nLayers() - 1) + ".hook_resid_post";
    dest("Resid End", last, "unembed.W_U", 0);
  }

  private void residualTransformer(TransformerConfig config) {
    if (config.blockKind() == BlockKind.PARALLEL) {
      throw new IllegalArgumentException(
          "a residual graph has a node between attention and MLP, which parallel blocks do not"
              + " have; use a factorised graph");
    }
    source("Resid Start", "blocks.0.hook_resid_pre", null);
    int segment = 0;
    for (int block = 0; block < config.nLayers(); block++) {
      String prefix = "blocks." + block + ".";
      headSources(
          "A" + block + ".", prefix + "attn.hook_result", prefix + "attn.W_O", config.nHeads());
      if (config.hasMlp()) {
        segment = residual("Resid Mid " + block, prefix + "hook_resid_mid", segment);
        mlpSources(config, block);
      }
      if (block < config.nLayers() - 1) {
        segment = residual("Resid Post " + block, prefix + "hook_resid_post", segment);
      } else {
        layer++;
        dest("Resid End", prefix + "hook_resid_post", null, segment);
      }
    }
  }

  private void mlpDest(int block) {
    String prefix = "blocks." + block + ".";
    dest("MLP " + block, prefix + "hook_mlp_in", prefix + "mlp.W_in", 0);
  }

  /** The MLP, or what an autoencoder takes it apart into. */
  private void mlpSources(TransformerConfig config, int block) {
    String prefix = "blocks." + block + ".";
    String name = "MLP " + block;
    String module = AutoencoderConfig.hookName(block);
    AutoencoderConfig autoencoders = config.autoencoders().orElse(null);
    if (autoencoders == null || !autoencoders.has(block)) {
      source(name, module, prefix + "mlp.W_out");
      return;
    }
    int latents = autoencoders.latents().get(block);
    if (latents > 0) {
      // The original's name of the weight, which is decode_weight.
      headSources(name + " Latent ", module + ".latent_outs", module + ".decoder.weight", latents);
    }
    if (autoencoders.errorNodes()) {
      source(name + " Error", module + ".error", null);
    }
  }

  private void microModel(MicroModelConfig config, boolean factorized) {
    source("Resid Start", "input", null);
    int segment = 0;
    for (int block = 0; block < config.nLayers(); block++) {
      String prefix = "blocks." + block + ".";
      String head = "B" + block + ".";
      if (factorized) {
        layer++;
        headDests(head, "", prefix + "head_inputs", null, config.nHeads(), 1);
      }
      headSources(head, prefix + "head_outputs", "weights", config.nHeads());
      if (!factorized && block < config.nLayers() - 1) {
        segment = residual("Resid Post " + block, "resids." + block, segment);
      }
    }
    layer++;
    dest("Resid End", "output", null, segment);
  }

  /** A residual node ends the segment that began at the given source and begins the next one. */
  private int residual(String name, String module, int segment) {
    layer++;
    dest(name, module, null, segment);
    source(name, module, null);
    return srcs.size() - 1;
  }

  private void source(String name, String module, String weight) {
    int start = srcs.size();
    OptionalInt none = OptionalInt.empty();
    srcs.add(
        new SrcNode(name, module, layer, none, none, Optional.ofNullable(weight), none, start));
    srcModules.add(new SrcModule(module, start, start + 1));
  }

  private void headSources(String prefix, String module, String weight, int heads) {
    int start = srcs.size();
    for (int head = 0; head < heads; head++) {
      srcs.add(
          new SrcNode(
              prefix + head,
              module,
              layer,
              OptionalInt.of(head),
              OptionalInt.of(HEAD_DIM),
              Optional.of(weight),
              OptionalInt.of(0),
              start + head));
    }
    srcModules.add(new SrcModule(module, start, start + heads));
  }

  private void dest(String name, String module, String weight, int minSrcIdx) {
    module(module, 0, minSrcIdx);
    OptionalInt none = OptionalInt.empty();
    dests.add(
        new DestNode(
            name,
            module,
            layer,
            none,
            none,
            Optional.ofNullable(weight),
            none,
            minSrcIdx,
            List.of()));
  }

  /** A destination for each head, each read by {@code sharedBy} query heads. */
  private void headDests(
      String prefix, String suffix, String module, String weight, int heads, int sharedBy) {
    module(module, heads, 0);
    for (int head = 0; head < heads; head++) {
      dests.add(
          new DestNode(
              prefix + head + suffix,
              module,
              layer,
              OptionalInt.of(head),
              OptionalInt.of(HEAD_DIM),
              Optional.ofNullable(weight),
              weight == null ? OptionalInt.empty() : OptionalInt.of(0),
              0,
              queryHeads(head, sharedBy)));
    }
  }

  private static List<Integer> queryHeads(int head, int sharedBy) {
    return sharedBy == 1
        ? List.of()
        : IntStream.range(head * sharedBy, (head + 1) * sharedBy).boxed().toList();
  }

  private void module(String name, int rows, int inStart) {
    // Past Integer.MAX_VALUE the offset is meaningless; the graph is refused by its size then.
    DestModule module =
        new DestModule(name, (int) maskSize, seqLen, rows, inStart, srcs.size(), dests.size());
    destModules.add(module);
    maskSize += (long) Math.max(seqLen, 1) * Math.max(rows, 1) * module.nSrcs();
  }
}
