package org.autocircuit.internal;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Says what types of other packages let the library do that users cannot: each registers its
 * accessor when it is initialised, and whoever needs it asks for it by the type. This package is
 * below all of them, so it names them by type variables.
 */
// Each type registers an accessor of its own kind, and says of which.
@SuppressWarnings({"unchecked", "overloads"})
public final class Access {

  /** Of models {@code M}. */
  public interface OfModel<M> {

    /** The native model; it stays the model's. */
    ModelHandle handle(M model);
  }

  /** Of masks {@code M} that never change. */
  public interface OfMasks<M> {

    /** The values as a tensor of a type on a device, and what passes plan from it. */
    NativeMasks onDevice(M masks, ScalarType type, String device);
  }

  /** Of mask parameters {@code P}. */
  public interface OfMaskParameters<P> {

    /** Begins training, which what is returned ends. */
    Runnable train(P masks, boolean wantsGradients);

    /**
     * Puts copies of the values for so many examples in their place until what is returned runs.
     */
    Runnable enter(P masks, int examples);

    /** The values that passes of this thread use, themselves, to be read while a use is open. */
    Tensor inForce(P masks);

    /** A copy of the values {@code [n_masks]} that hold outside of all modes, on any thread. */
    Tensor outsideModes(P masks);
  }

  /** Of source activations {@code S} that an ablation of type {@code T} makes. */
  public interface OfSourceActivations<S, T> {

    /** Activations made by an ablation, which close the cache; {@code null}: one is made. */
    S make(Tensor activations, T type, FullyPatchedCache fullyPatched);

    /** The tensor itself, to be read while a use is open. */
    Tensor tensor(S activations);

    /** Returns what passes with these activations have in common; {@code null}: nothing. */
    FullyPatchedCache fullyPatched(S activations);
  }

  /** Of prefixes {@code C}. */
  public interface OfPrefixCache<C> {

    /**
     * The entries themselves, keys and values of each block in turn, to be read while a use is
     * open.
     */
    List<Tensor> entries(C prefix);
  }

  /** Of incremental runs {@code R} along graphs {@code G}. */
  public interface OfIncrementalRun<R, G> {

    /** Takes charge of a native run of so many prompts and positions of the named model. */
    R make(String model, G graph, long batch, long seq, IncrementalHandle handle);
  }

  /** Of patchable models {@code M} and their passes {@code P}. */
  public interface OfPatchableModel<M, P> {

    /** The passes of the model. */
    P passes(M model);
  }

  private static final Map<Class<?>, Object> ACCESSORS = new ConcurrentHashMap<>();

  private Access() {}

  /** Registers the accessor of models. */
  public static <M> void register(Class<M> type, OfModel<M> accessor) {
    ACCESSORS.put(type, accessor);
  }

  /** Registers the accessor of masks. */
  public static <M> void register(Class<M> type, OfMasks<M> accessor) {
    ACCESSORS.put(type, accessor);
  }

  /** Registers the accessor of mask parameters. */
  public static <P> void register(Class<P> type, OfMaskParameters<P> accessor) {
    ACCESSORS.put(type, accessor);
  }

  /** Registers the accessor of source activations. */
  public static <S> void register(Class<S> type, OfSourceActivations<S, ?> accessor) {
    ACCESSORS.put(type, accessor);
  }

  /** Registers the accessor of prefixes. */
  public static <C> void register(Class<C> type, OfPrefixCache<C> accessor) {
    ACCESSORS.put(type, accessor);
  }

  /** Registers the accessor of incremental runs. */
  public static <R> void register(Class<R> type, OfIncrementalRun<R, ?> accessor) {
    ACCESSORS.put(type, accessor);
  }

  /** Registers the accessor of patchable models. */
  public static <M> void register(Class<M> type, OfPatchableModel<M, ?> accessor) {
    ACCESSORS.put(type, accessor);
  }

  /** The accessor of patchable models. */
  public static <M, P> OfPatchableModel<M, P> patchableModel(Class<M> type, Class<P> passes) {
    return (OfPatchableModel<M, P>) find(type);
  }

  /** The accessor of models. */
  public static <M> OfModel<M> model(Class<M> type) {
    return (OfModel<M>) find(type);
  }

  /** The accessor of masks. */
  public static <M> OfMasks<M> masks(Class<M> type) {
    return (OfMasks<M>) find(type);
  }

  /** The accessor of mask parameters. */
  public static <P> OfMaskParameters<P> maskParameters(Class<P> type) {
    return (OfMaskParameters<P>) find(type);
  }

  /** The accessor of source activations. */
  public static <S, T> OfSourceActivations<S, T> sourceActivations(
      Class<S> type, Class<T> ablation) {
    return (OfSourceActivations<S, T>) find(type);
  }

  /** The accessor of prefixes. */
  public static <C> OfPrefixCache<C> prefixCache(Class<C> type) {
    return (OfPrefixCache<C>) find(type);
  }

  /** The accessor of incremental runs. */
  public static <R, G> OfIncrementalRun<R, G> incrementalRun(Class<R> type, Class<G> graph) {
    return (OfIncrementalRun<R, G>) find(type);
  }

  private static Object find(Class<?> type) {
    try {
      Class.forName(type.getName(), true, type.getClassLoader());
    } catch (ClassNotFoundException e) {
      throw new IllegalStateException(type + " is there", e);
    }
    return ACCESSORS.get(type);
  }
}
