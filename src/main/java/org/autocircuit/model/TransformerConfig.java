package org.autocircuit.model;

/**
 * Structure of a GPT-2 kind transformer: LayerNorm before attention and MLP, learned positions,
 * multi-head attention, biases everywhere.
 *
 * @param nLayers number of blocks
 * @param dModel width of the residual stream
 * @param nHeads attention heads of a block
 * @param dHead width of one head
 * @param dMlp hidden width of the MLP
 * @param dVocab number of tokens, of the embedding and of the logits
 * @param nCtx longest sequence that has learned positions
 * @param eps added to the variance in LayerNorm
 * @param activation the MLP's activation under its Hugging Face name: {@code gelu_new}, {@code
 *     gelu} or {@code relu}
 */
public record TransformerConfig(
    int nLayers,
    int dModel,
    int nHeads,
    int dHead,
    int dMlp,
    int dVocab,
    int nCtx,
    double eps,
    String activation)
    implements ModelConfig {

  @Override
  public String nativeDescription() {
    return """
        kind=transformer
        n_layers=%d
        d_model=%d
        n_heads=%d
        d_head=%d
        d_mlp=%d
        d_vocab=%d
        n_ctx=%d
        eps=%s
        act_fn=%s
        """
        .formatted(
            nLayers, dModel, nHeads, dHead, dMlp, dVocab, nCtx, Double.toString(eps), activation);
  }
}
