package org.autocircuit.sae;

import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.OptionalInt;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.internal.Numbers;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.Progress;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * Prunes the latents of a model's autoencoders by their activity: of the sum of a latent's values
 * over all prompts and positions of a data set, the largest are kept, and never more than are above
 * zero. It makes graphs small enough to work with; the counterpart of the Python original's {@code
 * _prune_latents_with_dataset}.
 *
 * <p>The latents that are kept are renumbered, the most active first (of equally active ones, the
 * one that was first). Per position, each position keeps latents of its own; all keep as many as
 * the one with the most active latents needs, so others are filled up with latents that the data
 * set never activates there. The values are those of the model as it runs, with earlier
 * autoencoders in place. Padding has none, but positions are counted with it.
 *
 * <p>Not as in the original, blocks have nothing to do with each other: there, if no greatest
 * number is set, a block keeps at most as many latents as the first one.
 *
 * <pre>{@code
 * try (Model sparse = Checkpoints.withAutoencoders(gpt2, file, true);
 *     Model pruned = LatentPruning.builder().maxLatents(50).build().prune(sparse, batches);
 *     PatchableModel model = PatchableModel.of(pruned, PatchableModelOptions.defaults())) {
 *   ...
 * }
 * }</pre>
 *
 * <p>Immutable; safe to share between threads.
 */
public final class LatentPruning {

  private static final Access.OfModel<Model> MODELS = Access.model(Model.class);

  private final OptionalInt maxLatents;
  private final boolean includeCorrupt;
  private final boolean perPosition;

  private LatentPruning(Builder builder) {
    maxLatents = builder.maxLatents;
    includeCorrupt = builder.includeCorrupt;
    perPosition = builder.perPosition;
  }

  /** Begins with clean prompts only, all positions together, and every latent that is active. */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Makes a model whose autoencoders have fewer latents.
   *
   * @param model with autoencoders whose latents serve all positions; not changed, and may be
   *     closed afterwards
   * @param batches at least one; per position, all prompts are equally long
   * @param progress is told of each batch
   * @return shares all other weights with the model; to be closed
   * @throws IllegalArgumentException if the model has no such autoencoders, there is no batch, or
   *     one does not fit the model
   * @throws IllegalStateException if the model is closed
   * @throws org.autocircuit.exception.NotFiniteException if the activity of a latent is NaN or
   *     infinite
   */
  public Model prune(
      Model model, Collection<? extends PromptPairBatch> batches, Progress progress) {
    if (!(model.config() instanceof TransformerConfig config) || config.autoencoders().isEmpty()) {
      throw new IllegalArgumentException(
          "model: expected one with autoencoders, got " + model.config());
    }
    AutoencoderConfig autoencoders = config.autoencoders().get();
    if (autoencoders.seqLen().isPresent()) {
      throw new IllegalArgumentException(
          "model: expected autoencoders whose latents serve all positions, got " + autoencoders);
    }
    try (NativeResource.Use use = MODELS.handle(model).use();
        CallScope scope = new CallScope();
        LatentActivity activity = new LatentActivity(model, config, perPosition)) {
      int done = 0;
      for (PromptPairBatch batch : batches) {
        activity.add(batch.clean());
        if (includeCorrupt) {
          activity.add(batch.corrupt());
        }
        progress.report(++done, batches.size());
      }
      Map<String, Tensor> weights = model.weights();
      Map<String, Tensor> pruned = new LinkedHashMap<>();
      // A NaN is not active, and would go without a word.
      activity.sums().values().forEach(sums -> model.precision().requireFinite("latents", sums));
      activity.sums().forEach((block, sums) -> keep(weights, block, mostActive(sums), pruned));
      return model.withAutoencoders(pruned, autoencoders.errorNodes());
    }
  }

  /** As {@link #prune(Model, Collection, Progress)}, without reports. */
  public Model prune(Model model, Collection<? extends PromptPairBatch> batches) {
    return prune(model, batches, Progress.NONE);
  }

  /** The latents to keep: [n] or [seq, n]. */
  private Tensor mostActive(Tensor sums) {
    // Of no latents at all there is no maximum.
    long active = sums.numel() == 0 ? 0 : sums.gt(new Scalar(0.0)).sum(-1).max().item_long();
    long kept = Math.min(active, maxLatents.orElse(Integer.MAX_VALUE));
    return sums.argsort(true, -1, true).narrow(-1, 0, kept);
  }

  private static void keep(
      Map<String, Tensor> weights, int block, Tensor latents, Map<String, Tensor> pruned) {
    String prefix = AutoencoderConfig.hookName(block) + ".";
    Tensor decode = weights.get(prefix + "decode_weight").t();
    pruned.put(prefix + "encode_weight", rows(weights.get(prefix + "encode_weight"), latents));
    pruned.put(prefix + "latent_bias", rows(weights.get(prefix + "latent_bias"), latents));
    pruned.put(prefix + "decode_weight", rows(decode, latents).transpose(-2, -1).contiguous());
    pruned.put(prefix + "bias", weights.get(prefix + "bias"));
  }

  /** Rows of a weight in the shape of their indices: [..., the rest of the weight's shape]. */
  private static Tensor rows(Tensor weight, Tensor indices) {
    Tensor rows = weight.detach().index_select(0, indices.reshape(-1));
    return rows.unflatten(0, indices.shape());
  }

  /** Collects settings. Not safe for use by several threads. */
  public static final class Builder {

    private OptionalInt maxLatents = OptionalInt.empty();
    private boolean includeCorrupt;
    private boolean perPosition;

    private Builder() {}

    /**
     * Sets the greatest number of latents that a block keeps, at each position.
     *
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder maxLatents(int value) {
      maxLatents = OptionalInt.of(Numbers.atLeast(1, "maxLatents", value));
      return this;
    }

    /** Sets whether corrupt prompts count, too. */
    public Builder includeCorrupt(boolean value) {
      includeCorrupt = value;
      return this;
    }

    /** Sets whether each token position keeps latents of its own. */
    public Builder perPosition(boolean value) {
      perPosition = value;
      return this;
    }

    /** Makes the pruning. */
    public LatentPruning build() {
      return new LatentPruning(this);
    }
  }
}
