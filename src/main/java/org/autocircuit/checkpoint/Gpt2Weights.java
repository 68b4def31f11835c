package org.autocircuit.checkpoint;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.WeightShapes;

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

  /**
   * One weight of a model.
   *
   * @param name canonical name
   * @param huggingFaceName name in Hugging Face's GPT-2, without the prefix {@code transformer.}
   * @param shape sizes of the dimensions
   */
  public record Weight(String name, String huggingFaceName, List<Long> shape) {

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
    ModelFamily family = new Gpt2Family();
    List<Weight> weights = new ArrayList<>();
    for (StoredWeight weight : family.weights(config, tiedEmbedding)) {
      TensorSource.Part part = weight.source().parts().get(0);
      if (!tiedEmbedding || !weight.name().equals(WeightShapes.UNEMBEDDING)) {
        weights.add(
            new Weight(weight.name(), part.tensor().replace(family.prefix(), ""), part.shape()));
      }
    }
    return Collections.unmodifiableList(weights);
  }
}
