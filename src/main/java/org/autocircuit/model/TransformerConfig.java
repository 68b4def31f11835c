package org.autocircuit.model;

import java.util.Objects;
import java.util.Optional;
import org.autocircuit.internal.Components;

/**
 * Structure of a decoder-only transformer. Immutable. The defaults of {@link #builder()} are
 * GPT-2's; everything in which other families differ is a setting.
 *
 * <pre>{@code
 * TransformerConfig gpt2 =
 *     TransformerConfig.builder().nLayers(2).dModel(64).nHeads(4).dVocab(300).nCtx(32).build();
 * TransformerConfig llama =
 *     TransformerConfig.builder().nLayers(2).dModel(64).nHeads(8).nKeyValueHeads(2)
 *         .dMlp(176).dVocab(300).nCtx(512)
 *         .norm(Norm.rmsNorm(1e-6))
 *         .rotary(RotaryPositions.halves(8).withBase(500_000))
 *         .activation(Activation.SILU).gatedMlp(true)
 *         .biases(Biases.NONE)
 *         .build();
 * }</pre>
 */
// Long since each setting has a field, an accessor and a setter of the builder.
public final class TransformerConfig implements ModelConfig {

  private final int nLayers;
  private final int dModel;
  private final int nHeads;
  private final int nKeyValueHeads;
  private final int dHead;
  private final int dMlp;
  private final int dVocab;
  private final int nCtx;
  private final BlockKind blockKind;
  private final Norm norm;
  private final boolean postNorms;
  private final Optional<RotaryPositions> rotary;
  private final AttentionScores attentionScores;
  private final Activation activation;
  private final boolean gatedMlp;
  private final Biases biases;
  private final double embedScale;
  private final double logitSoftCap;
  private final Optional<AutoencoderConfig> autoencoders;

  private TransformerConfig(Builder from) {
    nLayers = from.nLayers;
    dModel = from.dModel;
    nHeads = from.nHeads;
    nKeyValueHeads = from.nKeyValueHeads == 0 ? from.nHeads : from.nKeyValueHeads;
    dHead = from.dHead == 0 ? from.dModel / from.nHeads : from.dHead;
    dMlp = from.dMlp();
    dVocab = from.dVocab;
    nCtx = from.nCtx;
    blockKind = Objects.requireNonNull(from.blockKind, "blockKind");
    norm = Objects.requireNonNull(from.norm, "norm");
    postNorms = from.postNorms;
    rotary = from.rotary;
    attentionScores = Objects.requireNonNull(from.attentionScores, "attentionScores");
    activation = Objects.requireNonNull(from.activation, "activation");
    gatedMlp = from.gatedMlp;
    biases = Objects.requireNonNull(from.biases, "biases");
    embedScale = from.embedScale;
    logitSoftCap = from.logitSoftCap;
    autoencoders = from.autoencoders;
    check();
  }

  /** Returns the number of blocks. */
  @Override
  public int nLayers() {
    return nLayers;
  }

  /** Returns the width of the residual stream. */
  @Override
  public int dModel() {
    return dModel;
  }

  /** Returns the number of attention (query) heads of a block. */
  @Override
  public int nHeads() {
    return nHeads;
  }

  /**
   * Returns the number of heads that have keys and values of their own, a divisor of {@code
   * nHeads}; fewer of them is grouped-query attention, in which neighbouring query heads share one.
   */
  public int nKeyValueHeads() {
    return nKeyValueHeads;
  }

  /** Returns the width of one head. */
  public int dHead() {
    return dHead;
  }

  /** Returns the hidden width of the MLP; 0 in attention-only models. */
  public int dMlp() {
    return dMlp;
  }

  /** Returns the number of tokens, of the embedding and of the logits. */
  public int dVocab() {
    return dVocab;
  }

  /** Returns the longest sequence; with learned positions the number of them. */
  public int nCtx() {
    return nCtx;
  }

  /** Returns how attention and MLP of a block stand to each other. */
  public BlockKind blockKind() {
    return blockKind;
  }

  /** Returns the norm of what attention, MLP and unembedding read. */
  public Norm norm() {
    return norm;
  }

  /**
   * Returns whether what attention and MLP add to the residual stream is normed, too, with weights
   * {@code ln1_post.w} and {@code ln2_post.w} (Gemma 2). The sources of the graph are then the
   * normed values: a head's is its part of the sum, times the sum's factors.
   */
  public boolean postNorms() {
    return postNorms;
  }

  /** Returns rotary positions; empty: positions are learned and added to the embedding. */
  public Optional<RotaryPositions> rotary() {
    return rotary;
  }

  /** Returns how attention scores come from queries and keys. */
  public AttentionScores attentionScores() {
    return attentionScores;
  }

  /** Returns the MLP's activation; of no effect in attention-only models. */
  public Activation activation() {
    return activation;
  }

  /**
   * Returns whether the activation of one projection, {@code mlp.W_gate}, multiplies another,
   * {@code mlp.W_in}; a bias {@code mlp.b_in} is added to the product, as in TransformerLens.
   */
  public boolean gatedMlp() {
    return gatedMlp;
  }

  /** Returns which projections add a bias. */
  public Biases biases() {
    return biases;
  }

  /** Returns what multiplies the token embedding (Gemma); 1: it stays. */
  public double embedScale() {
    return embedScale;
  }

  /**
   * Returns the bound of logits, which become {@code cap * tanh(logit / cap)} (Gemma 2); 0: they
   * stay.
   */
  public double logitSoftCap() {
    return logitSoftCap;
  }

  /** Returns the sparse autoencoders on the MLPs' outputs, see {@link Model#withAutoencoders}. */
  public Optional<AutoencoderConfig> autoencoders() {
    return autoencoders;
  }

  /** A builder whose defaults are GPT-2's: {@code eps} 1e-5, {@code gelu_new}, 1024 positions. */
  public static Builder builder() {
    return new Builder();
  }

  /** A builder that starts from these settings, all of them explicit. */
  public Builder toBuilder() {
    return new Builder(this);
  }

  /** Returns what the norm adds to the mean square. */
  public double eps() {
    return norm.eps();
  }

  /** Returns whether blocks have an MLP. */
  public boolean hasMlp() {
    return blockKind != BlockKind.ATTENTION_ONLY;
  }

  /** Returns whether several query heads share keys and values. */
  public boolean groupedQueries() {
    return nKeyValueHeads < nHeads;
  }

  @Override
  public String nativeDescription() {
    return TransformerDescription.of(this);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof TransformerConfig that && components().equals(that.components());
  }

  @Override
  public int hashCode() {
    return components().hashCode();
  }

  @Override
  public String toString() {
    return "TransformerConfig" + components();
  }

  private Components components() {
    return Components.of(
        "nLayers", nLayers,
        "dModel", dModel,
        "nHeads", nHeads,
        "nKeyValueHeads", nKeyValueHeads,
        "dHead", dHead,
        "dMlp", dMlp,
        "dVocab", dVocab,
        "nCtx", nCtx,
        "blockKind", blockKind,
        "norm", norm,
        "postNorms", postNorms,
        "rotary", rotary,
        "attentionScores", attentionScores,
        "activation", activation,
        "gatedMlp", gatedMlp,
        "biases", biases,
        "embedScale", embedScale,
        "logitSoftCap", logitSoftCap,
        "autoencoders", autoencoders);
  }

  private void check() {
    requirePositive("nLayers", nLayers);
    requirePositive("dModel", dModel);
    requirePositive("nHeads", nHeads);
    requirePositive("nKeyValueHeads", nKeyValueHeads);
    requirePositive("dHead", dHead);
    requirePositive("dVocab", dVocab);
    requirePositive("nCtx", nCtx);
    require(
        nHeads % nKeyValueHeads == 0,
        "nKeyValueHeads must divide nHeads, got " + nKeyValueHeads + " and " + nHeads);
    if (blockKind == BlockKind.ATTENTION_ONLY) {
      require(!gatedMlp, "gatedMlp must be false in an attention-only model");
    } else {
      requirePositive("dMlp", dMlp);
    }
    if (rotary.isPresent()) {
      int dims = rotary.get().dims();
      require(dims <= dHead, "rotary dims must be at most dHead, got " + dims + " and " + dHead);
    }
    // A LayerNorm's mean mixes what the heads add, so no head has a part of its own.
    require(
        !postNorms || norm.kind() == Norm.Kind.RMS_NORM, "postNorms need an RMS norm, got " + norm);
    // Normed, it would add something else to the stream at every position: no constant, no source.
    require(
        !postNorms || !biases.attentionOutput(),
        "postNorms and a bias of the attention output do not go together, got " + biases);
    requirePositive("embedScale", embedScale);
    requireCap("logitSoftCap", logitSoftCap);
    if (autoencoders.isPresent()) {
      autoencoders.get().requireFit(nLayers, nCtx, blockKind);
    }
  }

  static void requirePositive(String name, int value) {
    if (value <= 0) {
      throw new IllegalArgumentException(name + " must be positive, got " + value);
    }
  }

  static void requirePositive(String name, double value) {
    if (!(value > 0) || Double.isInfinite(value)) {
      throw new IllegalArgumentException(name + " must be a positive number, got " + value);
    }
  }

  static void requireCap(String name, double value) {
    if (!(value >= 0) || Double.isInfinite(value)) {
      throw new IllegalArgumentException(
          name + " must be a positive number, or 0 for none, got " + value);
    }
  }

  private static void require(boolean holds, String message) {
    if (!holds) {
      throw new IllegalArgumentException(message);
    }
  }

  /**
   * Collects settings; {@link #build()} checks them. {@code dHead} defaults to {@code dModel /
   * nHeads}, {@code nKeyValueHeads} to {@code nHeads} and {@code dMlp} to {@code 4 * dModel}. Not
   * safe for use by several threads.
   */
  public static final class Builder {
    private int nLayers;
    private int dModel;
    private int nHeads;
    private int nKeyValueHeads;
    private int dHead;
    private int dMlp;
    private int dVocab;
    private int nCtx = 1024;
    private BlockKind blockKind = BlockKind.SEQUENTIAL;
    private Norm norm = Norm.layerNorm(1e-5);
    private boolean postNorms;
    private Optional<RotaryPositions> rotary = Optional.empty();
    private AttentionScores attentionScores = AttentionScores.PLAIN;
    private Activation activation = Activation.GELU_NEW;
    private boolean gatedMlp;
    private Biases biases = Biases.ALL;
    private double embedScale = 1;
    private double logitSoftCap;
    private Optional<AutoencoderConfig> autoencoders = Optional.empty();

    private Builder() {}

    private Builder(TransformerConfig config) {
      nLayers = config.nLayers;
      dModel = config.dModel;
      nHeads = config.nHeads;
      nKeyValueHeads = config.nKeyValueHeads;
      dHead = config.dHead;
      dMlp = config.dMlp;
      dVocab = config.dVocab;
      nCtx = config.nCtx;
      blockKind = config.blockKind;
      norm = config.norm;
      postNorms = config.postNorms;
      rotary = config.rotary;
      attentionScores = config.attentionScores;
      activation = config.activation;
      gatedMlp = config.gatedMlp;
      biases = config.biases;
      embedScale = config.embedScale;
      logitSoftCap = config.logitSoftCap;
      autoencoders = config.autoencoders;
    }

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

    /** Sets the heads with keys and values of their own; {@code nHeads} unless called. */
    public Builder nKeyValueHeads(int value) {
      requirePositive("nKeyValueHeads", value);
      nKeyValueHeads = value;
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

    /** Sets the longest sequence. */
    public Builder nCtx(int value) {
      nCtx = value;
      return this;
    }

    /** Sets how attention and MLP stand to each other; attention-only models ignore MLP sizes. */
    public Builder blockKind(BlockKind value) {
      blockKind = value;
      return this;
    }

    /** Sets the norm. */
    public Builder norm(Norm value) {
      norm = value;
      return this;
    }

    /** Sets what the norm adds to the mean square. */
    public Builder eps(double value) {
      norm = norm.withEps(value);
      return this;
    }

    /** Sets whether what attention and MLP add to the residual stream is normed. */
    public Builder postNorms(boolean value) {
      postNorms = value;
      return this;
    }

    /** Sets rotary positions in place of learned ones. */
    public Builder rotary(RotaryPositions value) {
      rotary = Optional.of(value);
      return this;
    }

    /** Sets how attention scores come from queries and keys. */
    public Builder attentionScores(AttentionScores value) {
      attentionScores = value;
      return this;
    }

    /** Sets the MLP's activation. */
    public Builder activation(Activation value) {
      activation = value;
      return this;
    }

    /** Sets the MLP's activation by its name, see {@link Activation#named}. */
    public Builder activation(String value) {
      return activation(Activation.named(value));
    }

    /** Sets whether the MLP is gated. */
    public Builder gatedMlp(boolean value) {
      gatedMlp = value;
      return this;
    }

    /** Sets which projections add a bias. */
    public Builder biases(Biases value) {
      biases = value;
      return this;
    }

    /** Sets what multiplies the token embedding. */
    public Builder embedScale(double value) {
      embedScale = value;
      return this;
    }

    /** Sets the bound of the logits, 0 for none. */
    public Builder logitSoftCap(double value) {
      logitSoftCap = value;
      return this;
    }

    /** Sets the autoencoders on the MLPs' outputs. */
    public Builder autoencoders(AutoencoderConfig value) {
      autoencoders = Optional.of(value);
      return this;
    }

    /** Leaves the MLPs' outputs as they are. */
    public Builder withoutAutoencoders() {
      autoencoders = Optional.empty();
      return this;
    }

    /**
     * Makes the configuration.
     *
     * @throws IllegalArgumentException if a size is missing or not positive, if {@code dHead} is
     *     left to its default and {@code nHeads} does not divide {@code dModel}, or if settings do
     *     not go together
     */
    public TransformerConfig build() {
      requirePositive("dModel", dModel);
      requirePositive("nHeads", nHeads);
      require(
          dHead != 0 || dModel % nHeads == 0,
          "nHeads must divide dModel unless dHead is set, got nHeads %s and dModel %s"
              .formatted(nHeads, dModel));
      return new TransformerConfig(this);
    }

    private int dMlp() {
      if (blockKind == BlockKind.ATTENTION_ONLY) {
        return 0;
      }
      return dMlp == 0 ? Math.multiplyExact(4, dModel) : dMlp;
    }
  }
}
