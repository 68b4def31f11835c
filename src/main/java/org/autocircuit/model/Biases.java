package org.autocircuit.model;

/**
 * Which projections add a bias. Norms say for themselves whether they have one, and an unembedding
 * bias {@code unembed.b_U} may always be given or left out.
 *
 * @param qkv queries, keys and values: {@code attn.b_QKV}
 * @param attentionOutput what the heads write: {@code attn.b_O}
 * @param mlp both projections of the MLP: {@code mlp.b_in}, {@code mlp.b_out}
 */
public record Biases(boolean qkv, boolean attentionOutput, boolean mlp) {

  /** Everywhere, as in GPT-2 and GPT-NeoX. */
  public static final Biases ALL = new Biases(true, true, true);

  /** Nowhere, as in Llama, Mistral, Qwen 3 and Gemma. */
  public static final Biases NONE = new Biases(false, false, false);

  /** Queries, keys and values only, as in Qwen 2. */
  public static final Biases QKV = new Biases(true, false, false);

  /** The MLP only, as in GPT-J. */
  public static final Biases MLP = new Biases(false, false, true);
}
