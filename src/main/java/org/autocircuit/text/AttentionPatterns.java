package org.autocircuit.text;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.autocircuit.graph.NearestName;
import org.autocircuit.graph.SrcNode;
import org.autocircuit.internal.BlockHooks;

/** Reads the attention of heads. */
final class AttentionPatterns {

  private AttentionPatterns() {}

  static List<AttentionPattern> of(TextModel model, String prompt, List<String> names) {
    List<SrcNode> all =
        model.graph().srcs().stream()
            .filter(src -> src.moduleName().endsWith(BlockHooks.RESULT))
            .toList();
    List<SrcNode> heads = names.stream().map(name -> head(all, name)).toList();
    String[] hooks = heads.stream().map(AttentionPatterns::hook).distinct().toArray(String[]::new);
    Map<String, ActivationValues> patterns = model.activations(prompt, hooks);
    List<String> tokens =
        Arrays.stream(model.tokens(prompt)).mapToObj(model.tokenizer()::decode).toList();
    return heads.stream()
        .map(head -> new AttentionPattern(head.name(), tokens, weights(head, patterns)))
        .toList();
  }

  private static SrcNode head(List<SrcNode> heads, String name) {
    NearestName.require("head", name, heads.stream().map(SrcNode::name).toList());
    return heads.stream().filter(head -> head.name().equals(name)).findFirst().orElseThrow();
  }

  private static String hook(SrcNode head) {
    return BlockHooks.of(BlockHooks.block(head.moduleName()), BlockHooks.PATTERN);
  }

  /** The rows of one head of {@code [1, heads, queries, keys]}. */
  private static float[][] weights(SrcNode head, Map<String, ActivationValues> patterns) {
    ActivationValues pattern = patterns.get(hook(head));
    int queries = pattern.shape()[2];
    int keys = pattern.shape()[3];
    float[] values = pattern.toArray();
    float[][] weights = new float[queries][];
    for (int query = 0; query < queries; query++) {
      int first = (head.headIdx().getAsInt() * queries + query) * keys;
      weights[query] = Arrays.copyOfRange(values, first, first + keys);
    }
    return weights;
  }
}
