package org.autocircuit.patch;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.bytedeco.pytorch.Tensor;

/**
 * Contexts of several requests as one, for a batch that holds the prompts of all, request after
 * request. Every prompt gets what it gets in a pass of its own, up to rounding.
 *
 * <pre>{@code
 * try (StackedContexts stack = PatchContext.stack(contexts, prompts)) { // List<long[][]> prompts
 *   List<float[][]> each = stack.split(model.logits(stack.join(prompts), stack.context()));
 * }
 * }</pre>
 *
 * <p><b>Cost.</b> A pass costs what masks for each example cost: it computes for all prompts what
 * any of the circuits needs. Where all contexts patch with one {@link SourceActivations} whose
 * batch dimension is 1, as means over a data set are, nothing is copied, and the pass uses what
 * these remember. Other activations are copied, {@code [n_srcs, batch, seq, d_model]}; a copy
 * remembers nothing. So tree patching of small circuits, which lives on that, is cheaper one by
 * one.
 *
 * <p><b>Ownership.</b> Close it after the last pass with its context; passes that run finish, and
 * pending backward passes stay possible. It closes the copies, never the activations of the given
 * contexts, which must stay open until then. Immutable, and safe to share between threads.
 */
public final class StackedContexts implements AutoCloseable {

  private static final String NAME = "StackedContexts";

  private final int[] prompts;
  private final int batch;
  private final PatchContext context;
  private final List<SourceActivations> copies;
  private volatile boolean closed;

  private StackedContexts(int[] prompts, PatchContext context, List<SourceActivations> copies) {
    this.prompts = prompts;
    this.batch = Arrays.stream(prompts).sum();
    this.context = context;
    this.copies = copies;
  }

  /** See {@link PatchContext#stack(List, int...)}. */
  static StackedContexts of(List<PatchContext> contexts, int... prompts) {
    int[] counts = prompts.clone();
    if (counts.length == 0) {
      counts = new int[contexts.size()];
      Arrays.fill(counts, 1);
    }
    return of(contexts, counts, null);
  }

  /** See {@link PatchContext#stack(List, List)}. */
  static StackedContexts of(List<PatchContext> contexts, List<long[][]> prompts) {
    return of(
        contexts,
        prompts.stream().mapToInt(own -> own.length).toArray(),
        prompts.stream().mapToInt(StackedContexts::longest).toArray());
  }

  private static int longest(long[][] prompts) {
    return Arrays.stream(prompts).mapToInt(prompt -> prompt.length).max().orElse(0);
  }

  private static StackedContexts of(List<PatchContext> given, int[] prompts, int[] positions) {
    List<PatchContext> contexts = List.copyOf(given);
    if (contexts.isEmpty()) {
      throw new IllegalArgumentException("contexts: expected at least one, got none");
    }
    if (prompts.length != contexts.size()) {
      throw new IllegalArgumentException(
          "prompts: expected those of %s contexts, got those of %s"
              .formatted(contexts.size(), prompts.length));
    }
    for (int i = 0; i < prompts.length; i++) {
      if (prompts[i] < 1) {
        throw new IllegalArgumentException(
            "prompts: expected at least one, got %s in context %s".formatted(prompts[i], i));
      }
    }
    long batch = Arrays.stream(prompts).asLongStream().sum();
    if (batch > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "prompts: expected at most %s together, got %s".formatted(Integer.MAX_VALUE, batch));
    }
    ContextStacker stacker = new ContextStacker(contexts, prompts, positions);
    return new StackedContexts(prompts, stacker.join(), List.copyOf(stacker.made()));
  }

  /**
   * The context of a pass over the prompts of all contexts, in the order in which these were given.
   * It patches nothing if none of them does.
   *
   * @throws IllegalStateException if closed
   */
  public PatchContext context() {
    if (closed) {
      throw new IllegalStateException(NAME + " is closed");
    }
    return context;
  }

  /** The number of prompts of all contexts together. */
  public int batch() {
    return batch;
  }

  /**
   * Puts the prompts of all contexts into one batch. The rows are shared, not copied.
   *
   * @param tokens {@code [prompts][seq of each]} for each context
   * @throws IllegalArgumentException if there are not as many as was said when stacking
   */
  public long[][] join(List<long[][]> tokens) {
    int[] counts = tokens.stream().mapToInt(own -> own.length).toArray();
    if (!Arrays.equals(counts, prompts)) {
      throw new IllegalArgumentException(
          "prompts: expected %s for the contexts, got %s"
              .formatted(Arrays.toString(prompts), Arrays.toString(counts)));
    }
    return tokens.stream().flatMap(Arrays::stream).toArray(long[][]::new);
  }

  /**
   * Takes apart what a pass returned: logits or an activation that was read, or a gradient with
   * respect to masks of each example. (Source outputs have their prompts in dimension 1.)
   *
   * @param results {@code [batch, ...]}
   * @return for each context a view on the rows of its prompts; they belong to the caller's
   *     innermost {@code PointerScope}
   * @throws IllegalArgumentException if the first dimension is another
   */
  public List<Tensor> split(Tensor results) {
    Arguments.live("results", results);
    checkRows(results.dim() == 0 ? 0 : results.size(0));
    try (CallScope scope = new CallScope()) {
      List<Tensor> parts = new ArrayList<>();
      long start = 0;
      for (int count : prompts) {
        parts.add(results.narrow(0, start, count));
        start += count;
      }
      return scope.handOutAll(parts);
    }
  }

  /**
   * As {@link #split(Tensor)}, of plain arrays. The rows are shared, not copied.
   *
   * @param results a row for each prompt
   */
  public List<float[][]> split(float[][] results) {
    checkRows(results.length);
    List<float[][]> parts = new ArrayList<>();
    int start = 0;
    for (int count : prompts) {
      parts.add(Arrays.copyOfRange(results, start, start + count));
      start += count;
    }
    return parts;
  }

  private void checkRows(long rows) {
    if (rows != batch) {
      throw new IllegalArgumentException(
          "results: expected a row for each of %s prompts, got %s rows".formatted(batch, rows));
    }
  }

  /** Returns whether it was closed. */
  public boolean isClosed() {
    return closed;
  }

  /** Gives the copies back. Does nothing the second time. */
  @Override
  public void close() {
    closed = true;
    copies.forEach(SourceActivations::close);
  }

  /** The sizes. */
  @Override
  public String toString() {
    return "%s of %s contexts for %s prompts".formatted(NAME, prompts.length, batch);
  }
}
