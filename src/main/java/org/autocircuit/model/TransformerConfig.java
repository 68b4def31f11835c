package org.autocircuit.model;

import java.util.List;

/**
 * Structure of a GPT-2 kind transformer: LayerNorm before attention and MLP, learned positions,
 * multi-head attention, biases everywhere.
 *
 * <p>Use {@link #builder()} rather than the constructor: settings may be added, and the builder
 * knows the usual relations between sizes.
 *
 * <pre>{@code
 * TransformerConfig config =
 *     TransformerConfig.builder().nLayers(2).dModel(64).nHeads(4).dVocab(300).nCtx(32).build();
 * }</pre>
 *
 * @param nLayers number of blocks
 * @param dModel width of the residual stream
 * @param nHeads attention heads of a block
 * @param dHead width of one head
 * @param dMlp hidden width of the MLP
 * @param dVocab number of tokens, of the embedding and of the logits
 * @param nCtx longest sequence that has learned positions
 * @param eps added to the variance in LayerNorm
 * @param activation the MLP's activation under its Hugging Face name, one of {@link #ACTIVATIONS}
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

  /** The activations that can be run. */
  public static final List<String> ACTIVATIONS = List.of("gelu_new", "gelu", "relu");

  /**
   * Checks that every size is positive and that the activation is known.
   *
   * @throws IllegalArgumentException naming the setting and its value
   */
  public TransformerConfig {
    requirePositive("nLayers", nLayers);
    requirePositive("dModel", dModel);
    requirePositive("nHeads", nHeads);
    requirePositive("dHead", dHead);
    requirePositive("dMlp", dMlp);
    requirePositive("dVocab", dVocab);
    requirePositive("nCtx", nCtx);
    if (!(eps > 0) || Double.isInfinite(eps)) {
      throw new IllegalArgumentException("eps must be a positive number, got " + eps);
    }
    if (!ACTIVATIONS.contains(activation)) {
      throw new IllegalArgumentException(
          "activation must be one of " + ACTIVATIONS + ", got " + activation);
    }
  }

  private static void requirePositive(String name, int value) {
    if (value <= 0) {
      throw new IllegalArgumentException(name + " must be positive, got " + value);
    }
  }

  /** A builder whose defaults are GPT-2's: {@code eps} 1e-5, {@code gelu_new}, 1024 positions. */
  public static Builder builder() {
    return new Builder();
  }

  /** A builder that starts from these settings, all of them explicit. */
  public Builder toBuilder() {
    return new Builder()
        .nLayers(nLayers)
        .dModel(dModel)
        .nHeads(nHeads)
        .dHead(dHead)
        .dMlp(dMlp)
        .dVocab(dVocab)
        .nCtx(nCtx)
        .eps(eps)
        .activation(activation);
  }

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

  /**
   * Collects settings; {@link #build()} checks them. {@code dHead} defaults to {@code dModel /
   * nHeads} and {@code dMlp} to {@code 4 * dModel}. Not safe for use by several threads.
   */
  public static final class Builder {
    private int nLayers;
    private int dModel;
    private int nHeads;
    private int dHead;
    private int dMlp;
    private int dVocab;
    private int nCtx = 1024;
    private double eps = 1e-5;
    private String activation = "gelu_new";

    private Builder() {}

    /** Sets the number of blocks. */
    public Builder nLayers(int value) {
      nLayers = value;
      return this;
    }

    /** Sets the width of the residual stream. */
    public Builder dModel(int value) {
      dModel = value;
      return this;
    }

    /** Sets the attention heads of a block. */
    public Builder nHeads(int value) {
      nHeads = value;
      return this;
    }

    /** Sets the width of one head; {@code dModel / nHeads} unless called. */
    public Builder dHead(int value) {
      requirePositive("dHead", value);
      dHead = value;
      return this;
    }

    /** Sets the hidden width of the MLP; {@code 4 * dModel} unless called. */
    public Builder dMlp(int value) {
      requirePositive("dMlp", value);
      dMlp = value;
      return this;
    }

    /** Sets the size of the vocabulary. */
    public Builder dVocab(int value) {
      dVocab = value;
      return this;
    }

    /** Sets the longest sequence that has learned positions. */
    public Builder nCtx(int value) {
      nCtx = value;
      return this;
    }

    /** Sets what LayerNorm adds to the variance. */
    public Builder eps(double value) {
      eps = value;
      return this;
    }

    /** Sets the MLP's activation, one of {@link TransformerConfig#ACTIVATIONS}. */
    public Builder activation(String value) {
      activation = value;
      return this;
    }

    /**
     * Makes the configuration.
     *
     * @throws IllegalArgumentException if a size is missing or not positive, or if {@code dHead} is
     *     left to its default and {@code nHeads} does not divide {@code dModel}
     */
    public TransformerConfig build() {
      requirePositive("dModel", dModel);
      requirePositive("nHeads", nHeads);
      if (dHead == 0 && dModel % nHeads != 0) {
        throw new IllegalArgumentException(
            "nHeads must divide dModel unless dHead is set, got nHeads %d and dModel %d"
                .formatted(nHeads, dModel));
      }
      return new TransformerConfig(
          nLayers,
          dModel,
          nHeads,
          dHead == 0 ? dModel / nHeads : dHead,
          dMlp == 0 ? Math.multiplyExact(4, dModel) : dMlp,
          dVocab,
          nCtx,
          eps,
          activation);
    }
  }
}
