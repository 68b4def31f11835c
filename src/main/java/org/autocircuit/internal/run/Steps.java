package org.autocircuit.internal.run;

import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.stream.Collectors;
import org.autocircuit.exception.NativeException;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.ModelHandle;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.NativeMasks;
import org.autocircuit.internal.NativeSequence;
import org.autocircuit.internal.NativeStepMasks;
import org.autocircuit.internal.StopFlag;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.internal.jni.NativeLibrary;
import org.autocircuit.model.Precision;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/**
 * The native steps of a patchable model, which add tokens to many sequences at once. What they are
 * given is checked by native code, whose messages count chunks; callers check what users gave
 * before.
 */
public final class Steps {

  private static final int CHUNK_NUMBERS = 8;

  private final PassHandle handle;
  private final Precision precision;
  private final String device;

  Steps(PassHandle handle, Precision precision, String device) {
    this.handle = handle;
    this.precision = precision;
    this.device = device;
  }

  /**
   * The results of a step, of the innermost scope.
   *
   * @param stopped then there is nothing else, and no sequence grew
   * @param logits {@code [chunks that want them, d_vocab]} in the order of the chunks
   * @param reads for each hook point {@code [chunks that want them, ...]}
   */
  public record Result(boolean stopped, Tensor logits, List<Tensor> reads) {}

  /** Makes an empty sequence; patched: whether edges of its tokens may be patched. */
  public NativeSequence newSequence(int capacity, boolean patched) {
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, handle::use);
      return new NativeSequence(NativeLibrary.newSequence(handle.address(), capacity, patched));
    }
  }

  /** The bytes that such a sequence takes. */
  public long sequenceBytes(int capacity, boolean patched) {
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, handle::use);
      return NativeLibrary.sequenceBytes(handle.address(), capacity, patched);
    }
  }

  /** Makes the masks of a request; what their function and dropout draw is drawn here, once. */
  public NativeStepMasks masks(Masks masks, MaskFn maskFn, double dropout, long seed) {
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, handle::use);
      NativeMasks fixed =
          PassArguments.MASKS.onDevice(masks, precision.accumulation().scalarType(), device);
      scope.hold(fixed.use());
      return new NativeStepMasks(
          NativeLibrary.newStepMasks(
              handle.address(), fixed.tensor(), NativeCodes.of(maskFn), dropout, seed));
    }
  }

  /**
   * Runs chunks of several sequences in one pass. Sequences have grown when it returns a result
   * that was not stopped; otherwise, and if it throws, they are as they were.
   *
   * @param reads hook points with one value for each token
   * @param stop looked at before each block
   */
  public Result run(
      CallScope scope,
      List<StepChunk> chunks,
      List<StepAddition> added,
      List<String> reads,
      StopFlag stop) {
    PassHandle.hold(scope, handle::use);
    long[] numbers = new long[chunks.size() * CHUNK_NUMBERS];
    long[] tokens = new long[chunks.stream().mapToInt(chunk -> chunk.tokens().length).sum()];
    List<Tensor> constants = new ArrayList<>();
    IdentityHashMap<Tensor, Integer> constantIndex = new IdentityHashMap<>();
    int token = 0;
    int n = 0;
    for (StepChunk chunk : chunks) {
      scope.hold(chunk.sequence().use());
      long masks = 0;
      if (chunk.masks() != null) {
        scope.hold(chunk.masks().use());
        masks = chunk.masks().address();
      }
      int constant = -1;
      if (chunk.constant() != null) {
        constant =
            constantIndex.computeIfAbsent(
                chunk.constant(),
                tensor -> {
                  constants.add(tensor);
                  return constants.size() - 1;
                });
      }
      numbers[n++] = chunk.sequence().address();
      numbers[n++] = chunk.position();
      numbers[n++] = chunk.tokens().length;
      numbers[n++] = chunk.wantsLogits() ? 1 : 0;
      numbers[n++] = chunk.wantsReads() ? 1 : 0;
      numbers[n++] = chunk.donor();
      numbers[n++] = constant;
      numbers[n++] = masks;
      System.arraycopy(chunk.tokens(), 0, tokens, token, chunk.tokens().length);
      token += chunk.tokens().length;
    }
    TensorVector tensors;
    try {
      tensors =
          NativeLibrary.step(
              handle.address(),
              numbers,
              numbers.length,
              TensorArrays.of(tokens, device, 1, tokens.length),
              PassHandle.tensors(constants),
              added.stream().map(StepAddition::hook).collect(Collectors.joining("\n")),
              added.stream().mapToLong(StepAddition::chunk).toArray(),
              added.size(),
              PassHandle.tensors(added.stream().map(StepAddition::value).toList()),
              String.join("\n", reads),
              stop.address());
    } catch (NativeException e) {
      throw handle.explained(e, List.of());
    }
    List<Tensor> results = ModelHandle.tensors(tensors);
    return results.isEmpty()
        ? new Result(true, null, List.of())
        : new Result(false, results.get(0), results.subList(1, results.size()));
  }
}
