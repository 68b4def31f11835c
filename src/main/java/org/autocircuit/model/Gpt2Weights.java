package org.autocircuit.model;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The weights of a GPT-2 kind transformer under two sets of names: the library's own (canonical)
 * names and those of Hugging Face's {@code GPT2LMHeadModel}. Both layouts are the same, so loading
 * and saving move bytes and transpose nothing.
 *
 * <table>
 * <caption>Names and shapes; N counts blocks from 0</caption>
 * <tr><th>canonical</th><th>Hugging Face</th><th>shape</th></tr>
 * <tr><td>embed.W_E</td><td>wte.weight</td><td>[d_vocab, d_model]</td></tr>
 * <tr><td>pos_embed.W_pos</td><td>wpe.weight</td><td>[n_ctx, d_model]</td></tr>
 * <tr><td>blocks.N.ln1.w, .b</td><td>h.N.ln_1.weight, .bias</td><td>[d_model]</td></tr>
 * <tr><td>blocks.N.attn.W_QKV</td><td>h.N.attn.c_attn.weight</td>
 *     <td>[d_model, 3 * n_heads * d_head]</td></tr>
 * <tr><td>blocks.N.attn.b_QKV</td><td>h.N.attn.c_attn.bias</td><td>[3 * n_heads * d_head]</td></tr>
 * <tr><td>blocks.N.attn.W_O</td><td>h.N.attn.c_proj.weight</td>
 *     <td>[n_heads * d_head, d_model]</td></tr>
 * <tr><td>blocks.N.attn.b_O</td><td>h.N.attn.c_proj.bias</td><td>[d_model]</td></tr>
 * <tr><td>blocks.N.ln2.w, .b</td><td>h.N.ln_2.weight, .bias</td><td>[d_model]</td></tr>
 * <tr><td>blocks.N.mlp.W_in</td><td>h.N.mlp.c_fc.weight</td><td>[d_model, d_mlp]</td></tr>
 * <tr><td>blocks.N.mlp.b_in</td><td>h.N.mlp.c_fc.bias</td><td>[d_mlp]</td></tr>
 * <tr><td>blocks.N.mlp.W_out</td><td>h.N.mlp.c_proj.weight</td><td>[d_mlp, d_model]</td></tr>
 * <tr><td>blocks.N.mlp.b_out</td><td>h.N.mlp.c_proj.bias</td><td>[d_model]</td></tr>
 * <tr><td>ln_final.w, .b</td><td>ln_f.weight, .bias</td><td>[d_model]</td></tr>
 * <tr><td>unembed.W_U</td><td>lm_head.weight</td><td>[d_vocab, d_model]</td></tr>
 * </table>
 *
 * <p>In a file the Hugging Face names (all but {@code lm_head.weight}) may carry the prefix {@code
 * transformer.}; saved files carry it. With a tied embedding {@code unembed.W_U} is {@code
 * embed.W_E}, and a {@code lm_head.weight} in the file is not read.
 */
public final class Gpt2Weights {
  private static final String PREFIX = "transformer.";
  private static final String UNEMBEDDING = "unembed.W_U";
  private static final String HEAD = "lm_head.weight";

  /**
   * One weight of a model.
   *
   * @param name canonical name
   * @param huggingFaceName name in Hugging Face's GPT-2, without the prefix {@code transformer.}
   * @param shape sizes of the dimensions
   */
  public record Weight(String name, String huggingFaceName, List<Long> shape) {
    private Weight(String name, String huggingFaceName, long... shape) {
      this(name, huggingFaceName, Arrays.stream(shape).boxed().toList());
    }

    /** The name under which a saved file holds this weight. */
    public String savedName() {
      return huggingFaceName.equals(HEAD) ? HEAD : PREFIX + huggingFaceName;
    }

    /** The shape as an array of its own. */
    public long[] shapeArray() {
      return shape.stream().mapToLong(Long::longValue).toArray();
    }
  }

  private Gpt2Weights() {}

  /**
   * Every weight of a model, in the order in which they are saved. With a tied embedding {@code
   * unembed.W_U} is left out: it is no weight of its own. {@code unembed.b_U} never appears, since
   * Hugging Face's GPT-2 has no such bias.
   *
   * @param config the model's structure
   * @param tiedEmbedding whether the unembedding is the embedding
   */
  public static List<Weight> of(TransformerConfig config, boolean tiedEmbedding) {
    long d = config.dModel();
    long heads = (long) config.nHeads() * config.dHead();
    List<Weight> weights = new ArrayList<>();
    weights.add(new Weight("embed.W_E", "wte.weight", config.dVocab(), d));
    weights.add(new Weight("pos_embed.W_pos", "wpe.weight", config.nCtx(), d));
    for (int block = 0; block < config.nLayers(); block++) {
      String ours = "blocks." + block + ".";
      String theirs = "h." + block + ".";
      weights.add(new Weight(ours + "ln1.w", theirs + "ln_1.weight", d));
      weights.add(new Weight(ours + "ln1.b", theirs + "ln_1.bias", d));
      weights.add(new Weight(ours + "attn.W_QKV", theirs + "attn.c_attn.weight", d, 3 * heads));
      weights.add(new Weight(ours + "attn.b_QKV", theirs + "attn.c_attn.bias", 3 * heads));
      weights.add(new Weight(ours + "attn.W_O", theirs + "attn.c_proj.weight", heads, d));
      weights.add(new Weight(ours + "attn.b_O", theirs + "attn.c_proj.bias", d));
      weights.add(new Weight(ours + "ln2.w", theirs + "ln_2.weight", d));
      weights.add(new Weight(ours + "ln2.b", theirs + "ln_2.bias", d));
      weights.add(new Weight(ours + "mlp.W_in", theirs + "mlp.c_fc.weight", d, config.dMlp()));
      weights.add(new Weight(ours + "mlp.b_in", theirs + "mlp.c_fc.bias", config.dMlp()));
      weights.add(new Weight(ours + "mlp.W_out", theirs + "mlp.c_proj.weight", config.dMlp(), d));
      weights.add(new Weight(ours + "mlp.b_out", theirs + "mlp.c_proj.bias", d));
    }
    weights.add(new Weight("ln_final.w", "ln_f.weight", d));
    weights.add(new Weight("ln_final.b", "ln_f.bias", d));
    if (!tiedEmbedding) {
      weights.add(new Weight(UNEMBEDDING, HEAD, config.dVocab(), d));
    }
    return Collections.unmodifiableList(weights);
  }

  /**
   * Finds every weight of a model in a file.
   *
   * @param file the checked header of {@code model.safetensors}
   * @param config what {@code config.json} says
   * @return canonical name to place in the file, in the order of {@link #of}; with a tied embedding
   *     {@code unembed.W_U} comes last and is the entry of {@code embed.W_E}. Unmodifiable.
   * @throws CheckpointException naming the file and the first weight that is missing, has another
   *     shape than the configuration demands, or is not of a floating-point type; or naming the
   *     tensors that do not belong to the model
   */
  public static Map<String, TensorEntry> locate(SafetensorsFile file, HuggingFaceConfig config) {
    TransformerConfig transformer = config.transformer();
    // A claim of a billion blocks must not make us name them all before the first is missing.
    if (transformer.nLayers() > file.entries().size()) {
      throw new CheckpointException(
          "%s: has %d tensors, too few for the %d blocks of %s"
              .formatted(
                  file.path(),
                  file.entries().size(),
                  transformer.nLayers(),
                  HuggingFaceConfig.FILE_NAME));
    }
    boolean prefixed = file.entries().keySet().stream().anyMatch(name -> name.startsWith(PREFIX));
    Map<String, TensorEntry> located = new LinkedHashMap<>();
    Set<String> unexpected = new LinkedHashSet<>(file.entries().keySet());
    for (Weight weight : of(transformer, config.tiedEmbedding())) {
      String name = prefixed ? weight.savedName() : weight.huggingFaceName();
      located.put(weight.name(), checked(file, name, weight));
      unexpected.remove(name);
    }
    if (config.tiedEmbedding()) {
      located.put(UNEMBEDDING, located.get("embed.W_E"));
      unexpected.remove(HEAD);
    }
    // Causal masks that old versions of the original saved beside the weights.
    unexpected.removeIf(
        name -> name.matches("(transformer\\.)?h\\.\\d+\\.attn\\.(bias|masked_bias)"));
    if (!unexpected.isEmpty()) {
      throw new CheckpointException(
          "%s: does not fit %s, which has no place for %s"
              .formatted(file.path(), HuggingFaceConfig.FILE_NAME, firstFew(unexpected)));
    }
    return Collections.unmodifiableMap(located);
  }

  private static TensorEntry checked(SafetensorsFile file, String name, Weight weight) {
    TensorEntry entry = file.entries().get(name);
    if (entry == null) {
      throw new CheckpointException(
          "%s: tensor %s is missing, expected shape %s"
              .formatted(file.path(), name, weight.shape()));
    }
    if (!entry.hasShape(weight.shapeArray())) {
      throw new CheckpointException(
          "%s: tensor %s has shape %s, expected %s from %s"
              .formatted(
                  file.path(),
                  name,
                  Arrays.toString(entry.shape()),
                  weight.shape(),
                  HuggingFaceConfig.FILE_NAME));
    }
    if (!entry.type().isFloatingPoint()) {
      throw new CheckpointException(
          "%s: tensor %s is %s, expected one of F32, F16, BF16, F64"
              .formatted(file.path(), name, entry.type()));
    }
    return entry;
  }

  private static String firstFew(Set<String> names) {
    String listed = String.join(", ", names.stream().limit(5).toList());
    return names.size() > 5 ? listed + " and %d more".formatted(names.size() - 5) : listed;
  }
}
