package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.internal.Numbers;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.Use;

/**
 * Activation patching (causal tracing): puts activations of one prompt into the run on the other,
 * one at a time, and measures how far each moves the output (Zhang and Nanda 2024, 2309.16042;
 * Heimersheim and Nanda 2024, 2404.15255). The result, a {@link PatchMap}, tells which activations
 * at which positions carry what tells the two prompts apart.
 *
 * <p><b>Denoising</b> runs corrupt prompts and puts clean activations in: which are enough to bring
 * the answer back? <b>Noising</b> runs clean prompts and puts corrupt ones in: without which does
 * it get lost? The two are not each other's mirror where several activations carry the same.
 *
 * <p>A head's output is its part of what attention adds to the residual stream, as the source of
 * the graph has it: to patch a head is to patch all edges that leave it.
 *
 * <pre>{@code
 * PatchMap map =
 *     ActivationPatching.of(ActivationSite.RESIDUAL)
 *         .withDirection(PatchDirection.DENOISING)
 *         .map(model, batches);
 * System.out.println(map.share("block 1", 4));
 * }</pre>
 *
 * <p>Each prompt counts once. Many variants of the prompts of a batch run as one pass, from the
 * block on in which they differ; memory grows neither with the number of batches nor with that of
 * variants. Scopes that are open on the thread have no effect, and neither have graph and output
 * slice of the model. Immutable, safe to share between threads.
 */
public final class ActivationPatching {

  private static final int DEFAULT_BATCH_SIZE = 64;

  private final ActivationSite site;
  private final PatchDirection direction;
  private final PromptMetric metric;
  private final boolean eachPosition;
  private final int batchSize;

  private ActivationPatching(
      ActivationSite site,
      PatchDirection direction,
      PromptMetric metric,
      boolean eachPosition,
      int batchSize) {
    this.site = Objects.requireNonNull(site, "site");
    this.direction = Objects.requireNonNull(direction, "direction");
    this.metric = Objects.requireNonNull(metric, "metric");
    this.eachPosition = eachPosition;
    this.batchSize = batchSize;
  }

  /** Patches these activations, position by position, denoising, by the logit difference. */
  public static ActivationPatching of(ActivationSite site) {
    return new ActivationPatching(
        site,
        PatchDirection.DENOISING,
        PromptMetric.answerDifference(AnswerScale.LOGIT),
        true,
        DEFAULT_BATCH_SIZE);
  }

  /** This patching in the other direction, or the same. */
  public ActivationPatching withDirection(PatchDirection value) {
    return new ActivationPatching(site, value, metric, eachPosition, batchSize);
  }

  /** This patching by another metric of the last position's logits. */
  public ActivationPatching withMetric(PromptMetric value) {
    return new ActivationPatching(site, direction, value, eachPosition, batchSize);
  }

  /** This patching of all positions together: prompts may then differ in length. */
  public ActivationPatching withAllPositionsTogether() {
    return new ActivationPatching(site, direction, metric, false, batchSize);
  }

  /**
   * This patching with another number of rows in one pass. A pass has at least one variant of all
   * prompts of a batch.
   *
   * @throws IllegalArgumentException if it is less than 1
   */
  public ActivationPatching withBatchSize(int value) {
    Numbers.atLeast(1, "batchSize", value);
    return new ActivationPatching(site, direction, metric, eachPosition, value);
  }

  /**
   * Patches, and tells nobody how far it is; see {@link #map(PatchableModel, Collection,
   * Progress)}.
   */
  public PatchMap map(PatchableModel model, Collection<? extends PromptPairBatch> batches) {
    return map(model, batches, Progress.NONE);
  }

  /**
   * Patches every activation of a model's blocks.
   *
   * @param model a transformer
   * @param batches at least one; unless positions are patched together all prompts are equally long
   * @param progress is told of each pass
   * @throws IllegalArgumentException if there is no batch, prompts differ in length, the model is
   *     no transformer or has no MLP to patch, or the metric has the same mean on clean and on
   *     corrupt prompts
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN or infinite
   * @throws StoppedException if it was stopped; has the {@code PatchMap} of the batches done
   */
  public PatchMap map(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, Progress progress) {
    Objects.requireNonNull(progress, "progress");
    List<PromptPairBatch> list = List.copyOf(batches);
    TransformerConfig config = check(model, list);
    List<String> rows = rows(config);
    PatchMapSums sums = new PatchMapSums(rows.size(), eachPosition ? list.get(0).seqLength() : 1);
    long total = list.stream().mapToLong(batch -> plan(config, batch).passes()).sum();
    long done = 0;
    try (Use use = model.use()) {
      for (PromptPairBatch batch : list) {
        PatchedVariants plan = plan(config, batch);
        long before = done;
        plan.run(model, sums, passes -> progress.report(before + passes, total));
        done += plan.passes();
      }
    } catch (StoppedException e) {
      throw sums.isEmpty() ? e : new StoppedException(e, sums.map(this, rows));
    }
    return sums.map(this, rows);
  }

  private PatchedVariants plan(TransformerConfig config, PromptPairBatch batch) {
    return new PatchedVariants(this, config, batch);
  }

  private TransformerConfig check(PatchableModel model, List<PromptPairBatch> batches) {
    TransformerConfig config = BlockPrompts.check(model, batches, eachPosition);
    if (site == ActivationSite.MLP && !config.hasMlp()) {
      throw new IllegalArgumentException("site: %s has no MLPs to patch".formatted(model));
    }
    return config;
  }

  private List<String> rows(TransformerConfig config) {
    List<String> rows = new ArrayList<>();
    for (int block = 0; block < config.nLayers(); block++) {
      int of = block;
      IntStream.range(0, site.perBlock(config)).forEach(i -> rows.add(site.name(of, i)));
    }
    return rows;
  }

  ActivationSite site() {
    return site;
  }

  PatchDirection direction() {
    return direction;
  }

  PromptMetric metric() {
    return metric;
  }

  boolean eachPosition() {
    return eachPosition;
  }

  int batchSize() {
    return batchSize;
  }
}
