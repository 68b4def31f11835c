package org.autocircuit.internal;

import java.util.List;
import org.autocircuit.internal.jni.NativeLibrary;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/** A native patchable model. Arguments are as in {@code bridge.h}; {@code null}: undefined. */
public final class PatchableHandle {

  /**
   * Holds what patches a pass: all that depends on the context.
   *
   * @param masks {@code null} where they are {@code fixedMasks}
   */
  public record Patch(
      Tensor patchSrcOuts,
      FullyPatchedCache fullyPatched,
      Tensor masks,
      NativeMasks fixedMasks,
      int maskFn,
      double dropout,
      long seed,
      long step,
      Tensor uniforms) {

    /** A pass that is not patched. */
    public static final Patch NONE = new Patch(null, null, null, null, 0, 0, 0, 0, null);

    private Tensor maskTensor() {
      return orUndefined(fixedMasks == null ? masks : fixedMasks.tensor());
    }

    private long plans() {
      return fixedMasks == null ? 0 : fixedMasks.plans();
    }
  }

  /** Holds what a pass reads; {@code prefix}: keys and values of each block in turn, or nothing. */
  public record Input(Tensor value, Tensor attentionMask, List<Tensor> prefix) {

    private TensorVector vector() {
      TensorVector tensors = new TensorVector(value, orUndefined(attentionMask));
      prefix.forEach(tensors::push_back);
      return tensors;
    }
  }

  private final long address;
  private final NativeResource resource;

  PatchableHandle(String name, long address) {
    this.address = address;
    resource = new NativeResource(name, () -> NativeLibrary.releasePatchableModel(address));
  }

  /** Keeps the model from being freed. */
  public NativeResource.Use use() {
    return resource.use();
  }

  /** Logits, source outputs if wanted, and the hook points read; all handed out. */
  public List<Tensor> forward(
      Input input,
      int startBlock,
      Tensor startSrcOuts,
      int outputSlice,
      boolean grad,
      boolean wantSrcOuts,
      boolean patched,
      Patch patch,
      List<String> reads,
      int policy) {
    try (NativeResource.Use use = use();
        NativeResource.Use cacheUse = use(patch.fullyPatched());
        NativeResource.Use masksUse = use(patch.fixedMasks());
        CallScope scope = new CallScope()) {
      return ModelHandle.handOut(
          scope,
          NativeLibrary.forward(
              address,
              input.vector(),
              startBlock,
              orUndefined(startSrcOuts),
              outputSlice,
              grad,
              wantSrcOuts,
              patched,
              orUndefined(patch.patchSrcOuts()),
              addressOf(patch.fullyPatched()),
              patch.maskTensor(),
              patch.plans(),
              patch.maskFn(),
              patch.dropout(),
              patch.seed(),
              patch.step(),
              orUndefined(patch.uniforms()),
              String.join("\n", reads),
              policy));
    }
  }

  /** Begins a search's first baseline; it keeps the native model. */
  public IncrementalHandle incrementalRun(Input input, int outputSlice, Patch patch) {
    try (NativeResource.Use use = use();
        NativeResource.Use masksUse = use(patch.fixedMasks());
        CallScope scope = new CallScope()) {
      return new IncrementalHandle(
          NativeLibrary.newIncrementalRun(
              address, input.vector(), outputSlice, patch.patchSrcOuts(), patch.maskTensor()));
    }
  }

  /**
   * Source outputs of one batch, handed out.
   *
   * @param fullyPatched shall belong to them; {@code null} for none
   */
  public Tensor sourceAblations(Input input, int ablationType, FullyPatchedCache fullyPatched) {
    try (NativeResource.Use use = use();
        NativeResource.Use cacheUse = use(fullyPatched);
        CallScope scope = new CallScope()) {
      return scope.handOut(
          NativeLibrary.sourceAblations(
              address, input.vector(), ablationType, addressOf(fullyPatched)));
    }
  }

  /** Gradient, loss and logits; all handed out. */
  public List<Tensor> maskGradient(
      Input input,
      Patch patch,
      int gradFunction,
      int answerFunction,
      Tensor answers,
      Tensor wrongAnswers) {
    try (NativeResource.Use use = use();
        NativeResource.Use masksUse = use(patch.fixedMasks());
        CallScope scope = new CallScope()) {
      return ModelHandle.handOut(
          scope,
          NativeLibrary.maskGradient(
              address,
              input.vector(),
              orUndefined(patch.patchSrcOuts()),
              patch.maskTensor(),
              patch.maskFn(),
              patch.dropout(),
              patch.seed(),
              patch.step(),
              orUndefined(patch.uniforms()),
              gradFunction,
              answerFunction,
              orUndefined(answers),
              orUndefined(wrongAnswers)));
    }
  }

  /**
   * Gradient, loss and logits with uniform masks, within a limit of bytes; all handed out.
   *
   * @param corrupt {@code null}: patched with {@code patchSrcOuts}, which may be {@code null}
   *     otherwise
   */
  public List<Tensor> edgeAttribution(
      Input clean,
      Input corrupt,
      Tensor patchSrcOuts,
      double maskValue,
      int gradFunction,
      int answerFunction,
      Tensor answers,
      Tensor wrongAnswers,
      long memoryLimit) {
    try (NativeResource.Use use = use();
        CallScope scope = new CallScope()) {
      return ModelHandle.handOut(
          scope,
          NativeLibrary.edgeAttribution(
              address,
              clean.vector(),
              corrupt == null ? new TensorVector() : corrupt.vector(),
              orUndefined(patchSrcOuts),
              maskValue,
              gradFunction,
              answerFunction,
              orUndefined(answers),
              orUndefined(wrongAnswers),
              memoryLimit));
    }
  }

  /** See {@link NativeResource#requireUsable}. */
  public void requireUsable() {
    resource.requireUsable();
  }

  /** Returns whether {@link #close} was called. */
  public boolean isClosed() {
    return resource.isClosed();
  }

  /** Closes, and tells whether it was open before. */
  public boolean close() {
    return resource.closeFirst();
  }

  private static NativeResource.Use use(FullyPatchedCache cache) {
    return cache == null ? () -> {} : cache.use();
  }

  private static NativeResource.Use use(NativeMasks masks) {
    return masks == null ? () -> {} : masks.use();
  }

  private static long addressOf(FullyPatchedCache cache) {
    return cache == null ? 0 : cache.address();
  }

  static Tensor orUndefined(Tensor tensor) {
    return tensor == null ? new Tensor() : tensor;
  }
}
