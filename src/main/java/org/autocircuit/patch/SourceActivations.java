package org.autocircuit.patch;

import com.google.errorprone.annotations.MustBeClosed;
import java.util.Optional;
import java.util.function.Supplier;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.FullyPatchedCache;
import org.autocircuit.internal.NativeResource;
import org.bytedeco.pytorch.Tensor;

/**
 * Says what every source of a graph is patched with: activations {@code [n_srcs, batch, seq,
 * d_model]}, in the order of {@code ModelGraph.srcs()}, and the ablation that made them, if one
 * did. Where the batch dimension is 1, it serves every prompt of a batch.
 *
 * <p>Immutable, and safe to share between threads. Close it when it is not needed any more: passes
 * that run with it finish, and so do calls of several passes; contexts that hold it can no longer
 * be used, and gradients of passes that are done can still be taken.
 */
public final class SourceActivations implements AutoCloseable {

  private static final String NAME = "SourceActivations";

  static {
    Access.OfSourceActivations<SourceActivations, Ablation> accessor =
        new Access.OfSourceActivations<>() {
          @Override
          public SourceActivations make(
              Tensor tensor, Ablation ablation, FullyPatchedCache fullyPatched) {
            return SourceActivations.make(
                tensor,
                Optional.of(ablation),
                () -> fullyPatched == null ? new FullyPatchedCache() : fullyPatched);
          }

          @Override
          public Tensor tensor(SourceActivations activations) {
            return activations.tensor;
          }

          @Override
          public FullyPatchedCache fullyPatched(SourceActivations activations) {
            return activations.fullyPatched;
          }
        };
    Access.register(SourceActivations.class, accessor);
  }

  private final Tensor tensor;
  private final Optional<Ablation> ablation;
  private final FullyPatchedCache fullyPatched;
  private final NativeResource resource;

  private SourceActivations(
      Tensor tensor, Optional<Ablation> ablation, FullyPatchedCache fullyPatched) {
    this.tensor = tensor;
    this.ablation = ablation;
    this.fullyPatched = fullyPatched;
    this.resource =
        new NativeResource(
            NAME,
            () -> {
              tensor.releaseReference();
              if (fullyPatched != null) {
                fullyPatched.close();
              }
            });
  }

  /**
   * Activations of one's own making. The tensor is shared, not copied; its owner may close it, but
   * must not change its values. If it requires gradients, so do passes that are patched with it.
   *
   * @param activations {@code [n_srcs, batch, seq, d_model]}
   * @throws IllegalArgumentException if it has not four dimensions
   */
  public static SourceActivations of(Tensor activations) {
    return make(activations, Optional.empty(), FullyPatchedCache::new);
  }

  /** Activations for few passes, not worth a fully patched run. */
  static SourceActivations withoutFullyPatched(Tensor activations) {
    return make(activations, Optional.empty(), () -> null);
  }

  private static SourceActivations make(
      Tensor activations, Optional<Ablation> ablation, Supplier<FullyPatchedCache> fullyPatched) {
    Arguments.live(NAME, activations);
    Arguments.shape(
        NAME,
        activations,
        "[n_srcs, batch, seq, d_model]",
        Arguments.ANY,
        Arguments.ANY,
        Arguments.ANY,
        Arguments.ANY);
    try (CallScope scope = new CallScope()) {
      Tensor kept = scope.keep(new Tensor(activations));
      return new SourceActivations(kept, ablation, fullyPatched.get());
    }
  }

  /**
   * The activations {@code [n_srcs, batch, seq, d_model]}: the memory is shared, the tensor belongs
   * to the caller's innermost {@code PointerScope}. It may be strided, and dimensions along which
   * an ablation repeats may be expanded: do not write, and copy it before you take its pointer.
   *
   * @throws IllegalStateException if closed
   */
  public Tensor tensor() {
    try (NativeResource.Use use = resource.use();
        CallScope scope = new CallScope()) {
      return scope.handOut(new Tensor(tensor));
    }
  }

  /** The ablation that made the activations; empty if they are of one's own making. */
  public Optional<Ablation> ablation() {
    return ablation;
  }

  /**
   * Frees the fully patched runs that circuits have cached here: how the model runs with these
   * activations alone, for each batch size, length, padding and prefix that they came with. The
   * first circuit that needs such a run makes it, and later ones share it; those that nobody has
   * asked for longest go when all of them hold more than 1 GiB, and the last one stays.
   * Attribution, training and searches need no such run. The next circuit that needs one recomputes
   * it.
   *
   * @throws IllegalStateException if closed
   */
  public void trim() {
    try (NativeResource.Use use = resource.use()) {
      if (fullyPatched != null) {
        fullyPatched.clear();
      }
    }
  }

  /**
   * Keeps these activations open for this thread, for work of several calls.
   *
   * @return to be closed on this thread
   * @throws IllegalStateException if closed
   */
  @MustBeClosed
  public Use use() {
    return resource.use()::close;
  }

  /** Returns whether it was closed. */
  public boolean isClosed() {
    return resource.isClosed();
  }

  /** Gives the memory back. Does nothing the second time. */
  @Override
  public void close() {
    resource.close();
  }

  /** The ablation, if known. */
  @Override
  public String toString() {
    return ablation.map(known -> NAME + " " + known).orElse(NAME);
  }
}
