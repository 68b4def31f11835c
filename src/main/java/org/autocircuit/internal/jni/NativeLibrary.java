package org.autocircuit.internal.jni;

import org.autocircuit.exception.NativeException;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.annotation.ByRef;
import org.bytedeco.javacpp.annotation.ByVal;
import org.bytedeco.javacpp.annotation.Cast;
import org.bytedeco.javacpp.annotation.Const;
import org.bytedeco.javacpp.annotation.Name;
import org.bytedeco.javacpp.annotation.Namespace;
import org.bytedeco.javacpp.annotation.Platform;
import org.bytedeco.javacpp.annotation.StdString;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * Mirror of {@code autocircuit/bridge/bridge.h}, where each function is documented. Nothing is
 * checked here: callers pass valid handles, and an undefined tensor ({@code new Tensor()}) where a
 * tensor is optional, never {@code null}.
 */
@Platform(
    value = "linux-x86_64",
    include = {"torch/types.h", "autocircuit/bridge/bridge.h"},
    link = "autocircuit",
    library = "jniautocircuit")
@Namespace("autocircuit::bridge")
public final class NativeLibrary {

  static {
    // LibTorch comes with the presets. Loading them first lets our library find it in the process.
    Loader.load(torch.class);
    Loader.load(NativeLibrary.class);
  }

  private NativeLibrary() {}

  @Name("read_tensors")
  public static native @ByVal TensorVector readTensors(
      @StdString String path,
      @Cast("const int64_t*") long[] layout,
      @Cast("int64_t") long layoutSize,
      @Cast("int64_t") long dtype,
      @StdString String device)
      throws NativeException;

  @Name("new_model")
  public static native @Cast("int64_t") long newModel(
      @StdString String description, @StdString String names, @Const @ByRef TensorVector weights)
      throws NativeException;

  @Name("weight_shapes")
  public static native @StdString String weightShapes(@StdString String description)
      throws NativeException;

  @Name("release_model")
  public static native void releaseModel(@Cast("int64_t") long model) throws NativeException;

  @Name("model_to")
  public static native @Cast("int64_t") long modelTo(
      @Cast("int64_t") long model, @StdString String device) throws NativeException;

  @Name("model_weights")
  public static native @ByVal TensorVector modelWeights(@Cast("int64_t") long model)
      throws NativeException;

  @Name("model_weight_names")
  public static native @StdString String modelWeightNames(@Cast("int64_t") long model)
      throws NativeException;

  @Name("model_hook_names")
  public static native @StdString String modelHookNames(@Cast("int64_t") long model)
      throws NativeException;

  @Name("make_model_patchable")
  public static native @Cast("int64_t") long makeModelPatchable(
      @Cast("int64_t") long model,
      @StdString String modules,
      @Cast("const int64_t*") long[] wrappers,
      @Cast("int64_t") long wrappersSize,
      @Cast("int64_t") long seqLen)
      throws NativeException;

  @Name("release_patchable_model")
  public static native void releasePatchableModel(@Cast("int64_t") long model)
      throws NativeException;

  @Name("new_fully_patched_cache")
  public static native @Cast("int64_t") long newFullyPatchedCache() throws NativeException;

  @Name("clear_fully_patched_cache")
  public static native void clearFullyPatchedCache(@Cast("int64_t") long cache)
      throws NativeException;

  @Name("release_fully_patched_cache")
  public static native void releaseFullyPatchedCache(@Cast("int64_t") long cache)
      throws NativeException;

  @Name("new_mask_plans")
  public static native @Cast("int64_t") long newMaskPlans(@Const @ByRef Tensor masks)
      throws NativeException;

  @Name("mask_plans_tensor")
  public static native @ByVal Tensor maskPlansTensor(@Cast("int64_t") long plans)
      throws NativeException;

  @Name("release_mask_plans")
  public static native void releaseMaskPlans(@Cast("int64_t") long plans) throws NativeException;

  public static native @ByVal TensorVector forward(
      @Cast("int64_t") long model,
      @Const @ByRef TensorVector input,
      @Cast("int64_t") long startBlock,
      @Const @ByRef Tensor startSrcOuts,
      @Cast("int64_t") long outputSlice,
      @Cast("bool") boolean grad,
      @Cast("bool") boolean wantSrcOuts,
      @Cast("bool") boolean patched,
      @Const @ByRef Tensor patchSrcOuts,
      @Cast("int64_t") long fullyPatched,
      @Const @ByRef Tensor masks,
      @Cast("int64_t") long plans,
      @Cast("int64_t") long maskFn,
      double dropout,
      @Cast("int64_t") long seed,
      @Cast("int64_t") long step,
      @Const @ByRef Tensor uniforms,
      @StdString String reads,
      @Cast("int64_t") long policy,
      @StdString String addedAt,
      @Const @ByRef TensorVector added)
      throws NativeException;

  @Name("new_incremental_run")
  public static native @Cast("int64_t") long newIncrementalRun(
      @Cast("int64_t") long model,
      @Const @ByRef TensorVector input,
      @Cast("int64_t") long outputSlice,
      @Const @ByRef Tensor patchSrcOuts,
      @Cast("int64_t") long fullyPatched,
      @Const @ByRef Tensor masks)
      throws NativeException;

  @Name("release_incremental_run")
  public static native void releaseIncrementalRun(@Cast("int64_t") long run) throws NativeException;

  @Name("incremental_logits")
  public static native @ByVal Tensor incrementalLogits(
      @Cast("int64_t") long run,
      @Cast("const int64_t*") long[] places,
      @Cast("int64_t") long placesSize,
      double value)
      throws NativeException;

  @Name("commit_incremental")
  public static native void commitIncremental(@Cast("int64_t") long run) throws NativeException;

  @Name("source_ablations")
  public static native @ByVal Tensor sourceAblations(
      @Cast("int64_t") long model,
      @Const @ByRef TensorVector input,
      @Cast("int64_t") long ablation,
      @Cast("int64_t") long fullyPatched)
      throws NativeException;

  @Name("mask_gradient")
  public static native @ByVal TensorVector maskGradient(
      @Cast("int64_t") long model,
      @Const @ByRef TensorVector input,
      @Const @ByRef Tensor patchSrcOuts,
      @Const @ByRef Tensor masks,
      @Cast("int64_t") long maskFn,
      double dropout,
      @Cast("int64_t") long seed,
      @Cast("int64_t") long step,
      @Const @ByRef Tensor uniforms,
      @Cast("int64_t") long gradFunction,
      @Cast("int64_t") long answerFunction,
      @Const @ByRef Tensor answers,
      @Const @ByRef Tensor wrongAnswers)
      throws NativeException;

  @Name("edge_attribution")
  public static native @ByVal TensorVector edgeAttribution(
      @Cast("int64_t") long model,
      @Const @ByRef TensorVector clean,
      @Const @ByRef TensorVector corrupt,
      @Const @ByRef Tensor patchSrcOuts,
      double maskValue,
      @Cast("int64_t") long gradFunction,
      @Cast("int64_t") long answerFunction,
      @Const @ByRef Tensor answers,
      @Const @ByRef Tensor wrongAnswers,
      @Cast("int64_t") long memoryLimit,
      @Cast("bool") boolean perPrompt,
      @Cast("bool") boolean frozenNorms,
      double softmaxTemperature,
      double queriesAndKeys,
      double values,
      double gatedMlps,
      @Cast("bool") boolean wantDifferences)
      throws NativeException;

  @Name("point_gradient")
  public static native @ByVal TensorVector pointGradient(
      @Cast("int64_t") long model,
      @Const @ByRef TensorVector clean,
      @Cast("int64_t") long startBlock,
      @Const @ByRef Tensor differences,
      @Cast("int64_t") long srcStart,
      @Cast("int64_t") long srcStop,
      @StdString String addedAt,
      @Const @ByRef TensorVector added,
      @Cast("int64_t") long gradFunction,
      @Cast("int64_t") long answerFunction,
      @Const @ByRef Tensor answers,
      @Const @ByRef Tensor wrongAnswers,
      @Cast("bool") boolean perPrompt)
      throws NativeException;

  @Name("pattern_effects")
  public static native @ByVal Tensor patternEffects(
      @Cast("int64_t") long model,
      @Const @ByRef TensorVector stream,
      @Cast("int64_t") long block,
      @Const @ByRef Tensor differences,
      @Cast("bool") boolean ofKeys,
      @Cast("int64_t") long position,
      @Const @ByRef Tensor pattern,
      @Const @ByRef Tensor gradient)
      throws NativeException;

  @Name("answer_loss")
  public static native @ByVal Tensor answerLoss(
      @Const @ByRef Tensor logits,
      @Cast("int64_t") long gradFunction,
      @Cast("int64_t") long answerFunction,
      @Const @ByRef Tensor answers,
      @Const @ByRef Tensor wrongAnswers)
      throws NativeException;

  public static native @ByVal Tensor divergence(
      @Cast("int64_t") long target,
      @Const @ByRef Tensor logits,
      @Const @ByRef Tensor fullModel,
      @Const @ByRef Tensor attentionMask)
      throws NativeException;

  @Name("new_sequence")
  public static native @Cast("int64_t") long newSequence(
      @Cast("int64_t") long model, @Cast("int64_t") long capacity, @Cast("bool") boolean patched)
      throws NativeException;

  @Name("fork_sequence")
  public static native @Cast("int64_t") long forkSequence(
      @Cast("int64_t") long sequence, @Cast("int64_t") long length, @Cast("int64_t") long capacity)
      throws NativeException;

  @Name("release_sequence")
  public static native void releaseSequence(@Cast("int64_t") long sequence) throws NativeException;

  @Name("sequence_bytes")
  public static native @Cast("int64_t") long sequenceBytes(
      @Cast("int64_t") long model, @Cast("int64_t") long capacity, @Cast("bool") boolean patched)
      throws NativeException;

  @Name("new_step_masks")
  public static native @Cast("int64_t") long newStepMasks(
      @Cast("int64_t") long model,
      @Const @ByRef Tensor masks,
      @Cast("int64_t") long maskFn,
      double dropout,
      @Cast("int64_t") long seed)
      throws NativeException;

  @Name("release_step_masks")
  public static native void releaseStepMasks(@Cast("int64_t") long masks) throws NativeException;

  public static native @ByVal TensorVector step(
      @Cast("int64_t") long model,
      @Cast("const int64_t*") long[] chunks,
      @Cast("int64_t") long chunksSize,
      @Const @ByRef Tensor tokens,
      @Const @ByRef TensorVector constants,
      @StdString String addedAt,
      @Cast("const int64_t*") long[] addedChunks,
      @Cast("int64_t") long addedChunksSize,
      @Const @ByRef TensorVector added,
      @StdString String reads,
      @Cast("int64_t") long stopAddress)
      throws NativeException;

  @Name("new_mask_training")
  public static native @Cast("int64_t") long newMaskTraining(
      @Const @ByRef Tensor masks, @Const @ByRef Tensor nodeMasks, double learningRate)
      throws NativeException;

  @Name("release_mask_training")
  public static native void releaseMaskTraining(@Cast("int64_t") long training)
      throws NativeException;

  @Name("step_masks_along")
  public static native void stepMasksAlong(
      @Cast("int64_t") long training, @Const @ByRef Tensor gradients) throws NativeException;

  @Name("mask_training_state")
  public static native @ByVal Tensor maskTrainingState(@Cast("int64_t") long training)
      throws NativeException;

  @Name("restore_mask_training")
  public static native void restoreMaskTraining(
      @Cast("int64_t") long training, @Const @ByRef Tensor state, @Cast("int64_t") long steps)
      throws NativeException;

  @Name("train_masks")
  public static native @ByVal Tensor trainMasks(
      @Cast("int64_t") long training,
      @Cast("int64_t") long model,
      @Const @ByRef TensorVector input,
      @Cast("int64_t") long outputSlice,
      @Const @ByRef Tensor patchSrcOuts,
      @Cast("int64_t") long maskFn,
      double dropout,
      @Cast("int64_t") long seed,
      @Cast("int64_t") long step,
      @Cast("int64_t") long countSeed,
      @Cast("int64_t") long countStep,
      @Cast("int64_t") long target,
      @Const @ByRef Tensor fullModel,
      @Cast("bool") boolean circuitIsPatched,
      @Cast("int64_t") long circuitSize,
      double edgeWeight,
      @Const @ByRef Tensor constraints)
      throws NativeException;

  public static native @ByVal Tensor interpolate(
      @Const @ByRef Tensor arg0,
      @Const @ByRef Tensor srcActs,
      @Const @ByRef Tensor currSrcOuts,
      @Const @ByRef Tensor mask,
      @Cast("bool") boolean hasRows,
      @Cast("bool") boolean hasSeq,
      @Cast("int64_t") long maskFn,
      double dropout,
      @Cast("int64_t") long seed,
      @Cast("int64_t") long step,
      @Const @ByRef Tensor uniforms)
      throws NativeException;

  @Name("record_source")
  public static native void recordSource(
      @Const @ByRef Tensor output, @ByRef Tensor currSrcOuts, @Cast("int64_t") long srcStart)
      throws NativeException;

  @Name("apply_mask_fn")
  public static native @ByVal Tensor applyMaskFn(
      @Const @ByRef Tensor masks,
      @Cast("bool") boolean batched,
      @Cast("int64_t") long batch,
      @Cast("int64_t") long maskFn,
      double dropout,
      @Cast("int64_t") long seed,
      @Cast("int64_t") long step,
      @Const @ByRef Tensor uniforms)
      throws NativeException;

  @Name("backward")
  public static native void backward(@Const @ByRef Tensor loss) throws NativeException;

  @Name("set_num_threads")
  public static native void setNumThreads(@Cast("int64_t") long n) throws NativeException;

  @Name("num_threads")
  public static native @Cast("int64_t") long numThreads() throws NativeException;

  @Name("machine")
  public static native @StdString String machine() throws NativeException;

  @Name("workspace_bytes")
  public static native @Cast("int64_t") long workspaceBytes() throws NativeException;

  @Name("workspace_peak_bytes")
  public static native @Cast("int64_t") long workspacePeakBytes(@Cast("bool") boolean idle)
      throws NativeException;

  @Name("plan_memory")
  public static native @ByVal Tensor planMemory(
      @Cast("int64_t") long model,
      @Cast("const int64_t*") long[] sizes,
      @Cast("int64_t") long sizesSize,
      @Const double[] factors,
      @Cast("int64_t") long factorsSize,
      @Const @ByRef TensorVector masks,
      @Const @ByRef TensorVector prefix)
      throws NativeException;

  @Name("reset_workspace_peak")
  public static native void resetWorkspacePeak() throws NativeException;

  @Name("set_workspace_limit")
  public static native void setWorkspaceLimit(@Cast("int64_t") long bytes) throws NativeException;

  @Name("workspace_limit")
  public static native @Cast("int64_t") long workspaceLimit() throws NativeException;
}
