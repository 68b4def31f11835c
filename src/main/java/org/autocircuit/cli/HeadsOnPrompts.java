package org.autocircuit.cli;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.BlockHooks;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.PatchContext;

/** Reads where heads look on a few prompts, for pages. */
final class HeadsOnPrompts {

  /** Pages take a byte for each weight. */
  private static final long MOST_WEIGHTS = 120_000;

  private static final int MOST_PROMPTS = 3;

  private HeadsOnPrompts() {}

  /**
   * Returns the attention of each head on the first clean prompts, as many as pages have room for,
   * by names of heads {@code [query][key]}; none of a graph without heads.
   */
  static List<Map<String, float[][]>> attention(
      PatchableModel model, List<PromptPairBatch> batches) {
    ModelGraph graph = model.graph();
    if (!(graph.config() instanceof TransformerConfig config) || !graph.factorized()) {
      return List.of();
    }
    long heads = (long) config.nLayers() * config.nHeads();
    long[] room = {MOST_WEIGHTS};
    return batches.stream()
        .flatMap(batch -> Stream.of(batch.clean()))
        .limit(MOST_PROMPTS)
        .takeWhile(prompt -> (room[0] -= heads * prompt.length * (prompt.length + 1) / 2) >= 0)
        .map(prompt -> attention(model, config, prompt))
        .toList();
  }

  private static Map<String, float[][]> attention(
      PatchableModel model, TransformerConfig config, long[] prompt) {
    List<String> hooks = BlockHooks.ofAll(config.nLayers(), BlockHooks.PATTERN);
    Map<String, float[][]> patterns = new LinkedHashMap<>();
    try (CallScope scope = new CallScope()) {
      ForwardResult run =
          model.forward(
              ForwardRequest.of(new long[][] {prompt})
                  .withOutputSlice(OutputSlice.LAST_SEQ)
                  .withContext(PatchContext.NONE)
                  .withReads(hooks));
      for (int block = 0; block < hooks.size(); block++) {
        float[] weights = TensorArrays.floats(run.read(hooks.get(block)));
        for (int head = 0; head < config.nHeads(); head++) {
          float[][] rows = new float[prompt.length][prompt.length];
          for (int query = 0; query < rows.length; query++) {
            int first = (head * rows.length + query) * rows.length;
            System.arraycopy(weights, first, rows[query], 0, rows.length);
          }
          patterns.put("A%s.%s".formatted(block, head), rows);
        }
      }
    }
    return patterns;
  }
}
