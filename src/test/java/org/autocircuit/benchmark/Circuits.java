package org.autocircuit.benchmark;

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.IntPredicate;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcNode;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;

/**
 * Contexts of circuits under tree patching: all edges are patched but the circuit's. Each is made
 * when first asked for.
 */
final class Circuits {

  private static final int SEEDS = 20;
  private static final List<Double> TEN_SHARES =
      List.of(0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0);

  private final ModelGraph graph;
  private final SourceActivations activations;
  private final Map<Object, List<PatchContext>> contexts = new HashMap<>();
  private int turn;

  Circuits(ModelGraph graph, SourceActivations activations) {
    this.graph = graph;
    this.activations = activations;
  }

  /** A random share of the edges, another one each time, of twenty. */
  PatchContext random(double share) {
    List<PatchContext> seeds =
        contexts.computeIfAbsent(
            share,
            key ->
                new Random(1)
                    .longs(SEEDS)
                    .mapToObj(seed -> context(random(share, new Random(seed)), activations))
                    .toList());
    return seeds.get(turn++ % SEEDS);
  }

  /** All edges among a tenth of the heads and of the MLPs, and those from and to both ends. */
  PatchContext confined() {
    return contexts
        .computeIfAbsent("confined", key -> List.of(context(confinedMasks(), activations)))
        .get(0);
  }

  /** Ten circuits, from no edge to all, on other activations. */
  List<PatchContext> ten(SourceActivations others) {
    return TEN_SHARES.stream().map(share -> context(random(share, new Random(2)), others)).toList();
  }

  private PatchContext context(float[] masks, SourceActivations patch) {
    return PatchContext.of(patch, Masks.of(graph, masks));
  }

  private float[] random(double share, Random random) {
    float[] masks = new float[graph.maskSize()];
    for (int i = 0; i < masks.length; i++) {
      masks[i] = random.nextDouble() < share ? 0 : 1;
    }
    return masks;
  }

  private float[] confinedMasks() {
    float[] masks = new float[graph.maskSize()];
    Arrays.fill(masks, 1);
    Random random = new Random(3);
    boolean[] heads = tenth(graph.config().nLayers() * graph.config().nHeads(), random);
    boolean[] mlps = tenth(graph.config().nLayers(), random);
    int nHeads = graph.config().nHeads();
    for (DestModule module : graph.destModules()) {
      int layer = layer(module.moduleName());
      boolean end = module.nDests() == 1 && module.moduleName().endsWith("hook_resid_post");
      IntPredicate kept =
          row -> end || (module.nDests() > 1 ? heads[layer * nHeads + row] : mlps[layer]);
      for (int row = 0; row < module.nDests(); row++) {
        for (int i = 0; i < module.nSrcs(); i++) {
          SrcNode src = graph.srcs().get(module.inStart() + i);
          if (kept.test(row) && isKept(src, heads, mlps, nHeads)) {
            masks[module.index(0, row, module.inStart() + i)] = 0;
          }
        }
      }
    }
    return masks;
  }

  private static boolean isKept(SrcNode src, boolean[] heads, boolean[] mlps, int nHeads) {
    String name = src.name();
    if (name.startsWith("A")) {
      String[] numbers = name.substring(1).split("\\.");
      return heads[Integer.parseInt(numbers[0]) * nHeads + Integer.parseInt(numbers[1])];
    }
    return !name.startsWith("MLP ") || mlps[Integer.parseInt(name.substring(4))];
  }

  private static int layer(String module) {
    return Integer.parseInt(module.split("\\.")[1]);
  }

  private static boolean[] tenth(int n, Random random) {
    boolean[] chosen = new boolean[n];
    for (int left = Math.max(1, (int) Math.round(n * 0.1)); left > 0; ) {
      int i = random.nextInt(n);
      if (!chosen[i]) {
        chosen[i] = true;
        left--;
      }
    }
    return chosen;
  }
}
