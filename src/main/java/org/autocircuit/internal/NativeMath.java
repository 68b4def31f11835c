package org.autocircuit.internal;

import org.autocircuit.internal.jni.NativeLibrary;
import org.autocircuit.internal.jni.NativeLoader;
import org.bytedeco.pytorch.Tensor;

/** Native functions that need no model. Arguments are as in {@code bridge.h}. */
public final class NativeMath {

  private NativeMath() {}

  /** See {@code interpolate}; the result is handed out. */
  public static Tensor interpolate(
      Tensor arg0,
      Tensor srcActs,
      Tensor currSrcOuts,
      boolean hasRows,
      boolean hasSeq,
      Patch patch) {
    try (CallScope scope = new CallScope()) {
      return scope.handOut(
          NativeLibrary.interpolate(
              arg0,
              srcActs,
              currSrcOuts,
              patch.masks(),
              hasRows,
              hasSeq,
              patch.maskFn(),
              patch.dropout(),
              patch.seed(),
              patch.step(),
              Patch.orUndefined(patch.uniforms())));
    }
  }

  /** See {@code record_source}. */
  public static void recordSource(Tensor output, Tensor currSrcOuts, long srcStart) {
    try (CallScope scope = new CallScope()) {
      NativeLibrary.recordSource(output, currSrcOuts, srcStart);
    }
  }

  /** See {@code apply_mask_fn}; the result is handed out. */
  public static Tensor applyMaskFn(boolean batched, long batch, Patch patch) {
    try (CallScope scope = new CallScope()) {
      return scope.handOut(
          NativeLibrary.applyMaskFn(
              patch.masks(),
              batched,
              batch,
              patch.maskFn(),
              patch.dropout(),
              patch.seed(),
              patch.step(),
              Patch.orUndefined(patch.uniforms())));
    }
  }

  /** See {@code answer_loss}; the result is handed out. */
  public static Tensor answerLoss(
      Tensor logits, int gradFunction, int answerFunction, Tensor answers, Tensor wrongAnswers) {
    try (CallScope scope = new CallScope()) {
      return scope.handOut(
          NativeLibrary.answerLoss(
              logits, gradFunction, answerFunction, answers, Patch.orUndefined(wrongAnswers)));
    }
  }

  /** See {@code divergence}; the result is handed out. */
  public static Tensor divergence(
      int target, Tensor logits, Tensor fullModel, Tensor attentionMask) {
    try (CallScope scope = new CallScope()) {
      return scope.handOut(
          NativeLibrary.divergence(target, logits, fullModel, Patch.orUndefined(attentionMask)));
    }
  }

  /** Adds gradients of a loss to those of the leaves that it came from. */
  public static void backward(Tensor loss) {
    try (CallScope scope = new CallScope()) {
      NativeLibrary.backward(loss);
    }
  }

  /** Memory of the buffers that passes take and give back. */
  public static long workspaceBytes() {
    NativeLoader.require();
    return NativeLibrary.workspaceBytes();
  }

  /**
   * Bytes of the pool that were in use at one time at most, since the last reset.
   *
   * @param idle whether those count that were idle
   */
  public static long workspacePeakBytes(boolean idle) {
    NativeLoader.require();
    return NativeLibrary.workspacePeakBytes(idle);
  }

  /** Forgets that peak. */
  public static void resetWorkspacePeak() {
    NativeLoader.require();
    NativeLibrary.resetWorkspacePeak();
  }

  /** Sets how many bytes of these buffers are kept idle. */
  public static void setWorkspaceLimit(long bytes) {
    NativeLoader.require();
    NativeLibrary.setWorkspaceLimit(bytes);
  }

  /** Returns how many bytes of these buffers are kept idle at most. */
  public static long workspaceLimit() {
    NativeLoader.require();
    return NativeLibrary.workspaceLimit();
  }

  /** Threads that one call may use. */
  public static void setThreads(int n) {
    NativeLoader.require();
    NativeLibrary.setNumThreads(n);
  }

  /** Names the processor, OpenBLAS's kernels for it and LibTorch's, in a line for people. */
  public static String machine() {
    NativeLoader.require();
    return NativeLibrary.machine();
  }

  /** Threads that one call may use. */
  public static int threads() {
    NativeLoader.require();
    return Math.toIntExact(NativeLibrary.numThreads());
  }
}
