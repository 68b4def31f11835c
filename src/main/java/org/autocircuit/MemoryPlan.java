package org.autocircuit;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.StringJoiner;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.BackwardRules;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.attribution.PointAttribution;
import org.autocircuit.internal.Numbers;
import org.autocircuit.internal.run.MemoryCounts;
import org.autocircuit.internal.run.MemoryCounts.Request;
import org.autocircuit.internal.run.MemoryCounts.Work;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;

/**
 * Says how many bytes work on one batch takes, before it is done. The work is rehearsed on tensors
 * without numbers: the same code runs, and what it would take from {@link Workspaces} is counted,
 * by what it is for. Nothing of it is allocated, so a plan costs some milliseconds whatever the
 * size of the model, and a model on the {@code meta} device has plans, too: those of the CPU.
 *
 * <pre>{@code
 * MemoryPlan plan = model.memoryPlan(64, 128).attribution();
 * int batch = plan.largestBatch(8L << 30); // prompts at once within 8 GiB
 * }</pre>
 *
 * <p>The plan bounds what one thread takes for one batch, from nothing in use or idle on: source
 * activations that patch the batch, fully patched runs that belong to them and the masks included.
 * It leaves out the Java heap and memory of LibTorch's own threads. In 16 bits, copies that
 * LibTorch's library for products makes are known only about, and may be a tenth more. Plans for a
 * CUDA device count what its executors make, not what its allocator keeps.
 *
 * <p>Immutable, plain Java data, but for {@link #withBatch} and what uses it, which ask the model
 * again.
 */
public final class MemoryPlan {

  /** The parts, in the order of {@code bridge.h}. */
  private static final List<String> NAMES =
      List.of(
          "weights",
          "masks",
          "activations",
          "deltas",
          "logits",
          "gradients",
          "caches",
          "small tensors",
          "workspaces");

  private final MemoryCounts counts;
  private final Request request;
  private final long[] bytes;

  private MemoryPlan(MemoryCounts counts, Request request) {
    this.counts = counts;
    this.request = request;
    this.bytes = counts.of(request);
  }

  /** Returns the number of prompts that are worked on at once. */
  public int batch() {
    return request.batch();
  }

  /** Returns the number of tokens of each. */
  public int length() {
    return request.seq();
  }

  /** Returns the bytes of the model's weights. */
  public long weights() {
    return bytes[0];
  }

  /** Returns the bytes of masks, of what mask functions make of them, and of optimisers. */
  public long masks() {
    return bytes[1];
  }

  /** Returns the bytes of activations: those that edges are patched with, and a pass's own. */
  public long activations() {
    return bytes[2];
  }

  /** Returns the bytes of deltas, patched minus current outputs of sources. */
  public long deltas() {
    return bytes[3];
  }

  /** Returns the bytes of logits, and of what a loss compares them with. */
  public long logits() {
    return bytes[4];
  }

  /** Returns the bytes that a backward makes. */
  public long gradients() {
    return bytes[5];
  }

  /** Returns the bytes of keys and values that stand before the prompts. */
  public long caches() {
    return bytes[6];
  }

  /**
   * Returns the bytes of tensors below 16 KB, which {@link Workspaces} leaves to the system, so
   * that they do not count in its peak.
   */
  public long smallTensors() {
    return bytes[7];
  }

  /**
   * Returns how many bytes {@link Workspaces} holds idle at most beyond what is in use; it depends
   * on {@link Workspaces#limit()}.
   */
  public long workspaces() {
    return bytes[8];
  }

  /** Returns the bytes of all parts, which is the most that is there at one time. */
  public long total() {
    return Arrays.stream(bytes).sum();
  }

  /** The plan of the same work with another number of prompts. */
  public MemoryPlan withBatch(int batch) {
    return new MemoryPlan(counts, request.withBatch(Numbers.atLeast(1, "batch", batch)));
  }

  /**
   * Returns the largest number of prompts, up to this plan's, whose {@link #total()} is within a
   * limit.
   *
   * @param limit bytes, those of the weights included
   * @throws IllegalArgumentException if not even one prompt is; says what it takes
   * @throws IllegalStateException if the model is closed
   */
  public int largestBatch(long limit) {
    if (total() <= limit) {
      return batch();
    }
    MemoryPlan least = withBatch(1);
    if (least.total() > limit) {
      throw new IllegalArgumentException(
          "memory: one prompt of %s tokens takes %s, more than the limit of %s; shorter prompts,"
                  .formatted(length(), least, size(limit))
              + " or a model of 16-bit weights, take less");
    }
    int fits = 1;
    int tooMany = batch();
    while (tooMany - fits > 1) {
      int middle = fits + (tooMany - fits) / 2;
      if (withBatch(middle).total() <= limit) {
        fits = middle;
      } else {
        tooMany = middle;
      }
    }
    return fits;
  }

  /**
   * Refuses work that takes more than a limit.
   *
   * @param limit bytes, those of the weights included
   * @return this
   * @throws IllegalArgumentException if {@link #total()} is more; says the numbers, and how many
   *     prompts are within the limit
   * @throws IllegalStateException if the model is closed
   */
  public MemoryPlan requireWithin(long limit) {
    if (total() > limit) {
      int fits = largestBatch(limit);
      throw new IllegalArgumentException(
          "memory: %s prompts of %s tokens take %s, more than the limit of %s; take at most %s"
              .formatted(batch(), length(), this, size(limit), fits));
    }
    return this;
  }

  /** Compares shapes, settings and bytes. */
  @Override
  public boolean equals(Object other) {
    return other instanceof MemoryPlan that
        && request.equals(that.request)
        && Arrays.equals(bytes, that.bytes);
  }

  @Override
  public int hashCode() {
    return Objects.hash(request, Arrays.hashCode(bytes));
  }

  /** The total and its parts, those of nothing left out. */
  @Override
  public String toString() {
    StringJoiner parts = new StringJoiner(", ", size(total()) + " (", ")");
    for (int part = 0; part < bytes.length; part++) {
      if (bytes[part] > 0) {
        parts.add(NAMES.get(part) + " " + size(bytes[part]));
      }
    }
    return parts.toString();
  }

  private static String size(long bytes) {
    double mib = bytes / 1048576.0;
    return mib < 1024
        ? String.format(Locale.ROOT, "%.1f MiB", mib)
        : String.format(Locale.ROOT, "%.2f GiB", mib / 1024);
  }

  /**
   * Says of what batch, and under which settings, a plan is to be made, and makes it. The settings
   * are those of the model unless said.
   */
  public static final class Builder {

    private final MemoryCounts counts;
    private final int batch;
    private final int length;
    private OutputSlice slice;
    private Precision precision;
    private boolean padded;
    private Ablation ablation = BatchAblation.RESAMPLE;
    private MaskFn maskFn = MaskFn.NONE;
    private double dropout;
    private GradFunction loss = GradFunction.LOGIT;
    private double maskValue;
    private long memoryLimit = Long.MAX_VALUE;
    private boolean perPrompt;
    private BackwardRules rules = BackwardRules.DERIVATIVE;

    Builder(MemoryCounts counts, OutputSlice slice, Precision precision, int batch, int length) {
      this.counts = counts;
      this.slice = slice;
      this.precision = precision;
      this.batch = Numbers.atLeast(1, "batch", batch);
      this.length = Numbers.atLeast(1, "length", length);
    }

    /** Sets the positions of the logits, the model's unless said. */
    public Builder outputSlice(OutputSlice value) {
      slice = Objects.requireNonNull(value, "outputSlice");
      return this;
    }

    /** Sets the type of weights and activations, the model's unless said. */
    public Builder precision(Precision value) {
      precision = Objects.requireNonNull(value, "precision");
      return this;
    }

    /** Says that shorter prompts of the batch are padded. */
    public Builder padded() {
      padded = true;
      return this;
    }

    /** Sets what edges are patched with, resampled activations unless said. */
    public Builder ablation(Ablation value) {
      ablation = Objects.requireNonNull(value, "ablation");
      return this;
    }

    /** Sets what is applied to masks, nothing unless said. */
    public Builder maskFn(MaskFn value) {
      maskFn = Objects.requireNonNull(value, "maskFn");
      return this;
    }

    /** Sets the probability of dropping a mask value, 0 unless said. */
    public Builder dropout(double value) {
      dropout = value;
      return this;
    }

    /** Sets what a loss does to logits, nothing unless said. */
    public Builder loss(GradFunction value) {
      loss = Objects.requireNonNull(value, "loss");
      return this;
    }

    /** Sets the one value of all masks in an attribution, 0 unless said. */
    public Builder maskValue(double value) {
      maskValue = value;
      return this;
    }

    /** Sets the limit of an attribution's own: see {@link EdgeAttribution#memoryLimit()}. */
    public Builder memoryLimit(long value) {
      memoryLimit = Numbers.atLeast(1, "memoryLimit", value);
      return this;
    }

    /** Says that an attribution has a gradient for each prompt. */
    public Builder perPrompt() {
      perPrompt = true;
      return this;
    }

    /** Sets how the gradient of an attribution goes back, as the derivative unless said. */
    public Builder rules(BackwardRules value) {
      rules = Objects.requireNonNull(value, "rules");
      return this;
    }

    /** Plans a pass of the model as it is, without gradients. */
    public MemoryPlan plainPass() {
      return plan(Work.PLAIN_PASS, List.of());
    }

    /**
     * Plans source ablations and, one after another, a patched pass for each masks, without
     * gradients.
     *
     * @throws IllegalArgumentException if there are no masks, or they do not fit the model or the
     *     batch
     */
    public MemoryPlan circuits(List<Masks> masks) {
      return plan(Work.CIRCUITS, masks);
    }

    /**
     * Plans source ablations and {@link PatchableModel#maskGradient} of one context.
     *
     * @throws IllegalArgumentException if the masks do not fit the model or the batch
     */
    public MemoryPlan maskGradient(Masks masks) {
      return plan(Work.GRADIENT, List.of(masks));
    }

    /** Plans {@link PatchableModel#maskGradient(EdgeAttribution)}, from corrupt prompts on. */
    public MemoryPlan attribution() {
      return plan(Work.ATTRIBUTION, List.of());
    }

    /**
     * Plans source outputs of clean and of corrupt prompts, their differences, and {@link
     * PatchableModel#maskGradient(PointAttribution)} at one point. Several points that run at once
     * take activations and gradients for each.
     */
    public MemoryPlan pointAttribution() {
      return plan(Work.POINTS, List.of());
    }

    /**
     * Plans source ablations, the full model's outputs and steps of training masks from these on.
     *
     * @throws IllegalArgumentException if the masks do not fit the model
     */
    public MemoryPlan trainingStep(Masks masks) {
      return plan(Work.TRAINING, List.of(masks));
    }

    /**
     * Plans source ablations, a search's baseline and its costliest steps. Prompts that begin as
     * the corrupt ones do take less.
     *
     * @throws IllegalArgumentException if the masks do not fit the model
     */
    public MemoryPlan search(Masks masks) {
      return plan(Work.SEARCH, List.of(masks));
    }

    private MemoryPlan plan(Work work, List<Masks> masks) {
      return new MemoryPlan(
          counts,
          new Request(
              work,
              batch,
              length,
              slice,
              precision,
              padded,
              List.copyOf(masks),
              maskFn,
              dropout,
              ablation,
              loss,
              maskValue,
              memoryLimit,
              perPrompt,
              rules));
    }
  }
}
