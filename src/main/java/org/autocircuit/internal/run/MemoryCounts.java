package org.autocircuit.internal.run;

import java.util.List;
import java.util.OptionalInt;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.BackwardRules;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.NativeMasks;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.internal.jni.NativeLibrary;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/** Counts the bytes that work on one batch will take, without doing it. */
public final class MemoryCounts {

  /** Says what is done; in the order of {@code bridge.h}. */
  public enum Work {
    PLAIN_PASS,
    CIRCUITS,
    GRADIENT,
    ATTRIBUTION,
    POINTS,
    TRAINING,
    SEARCH
  }

  /** Says what is done with which batch; for the settings see {@code MemoryPlan.Builder}. */
  public record Request(
      Work work,
      int batch,
      int seq,
      OutputSlice slice,
      Precision precision,
      boolean padded,
      List<Masks> masks,
      MaskFn maskFn,
      double dropout,
      Ablation ablation,
      GradFunction loss,
      double maskValue,
      long memoryLimit,
      boolean perPrompt,
      BackwardRules rules) {

    /** The same with another number of prompts. */
    public Request withBatch(int other) {
      return new Request(
          work,
          other,
          seq,
          slice,
          precision,
          padded,
          masks,
          maskFn,
          dropout,
          ablation,
          loss,
          maskValue,
          memoryLimit,
          perPrompt,
          rules);
    }
  }

  private static final Access.OfMasks<Masks> MASKS = Access.masks(Masks.class);
  private static final Access.OfPrefixCache<PrefixCache> PREFIXES =
      Access.prefixCache(PrefixCache.class);
  private static final int OF_DATA_SET = 4; // as bridge.h has it

  private final PassArguments arguments;
  private final PassHandle handle;

  MemoryCounts(PassArguments arguments, PassHandle handle) {
    this.arguments = arguments;
    this.handle = handle;
  }

  /** Returns the bytes of the parts that {@code bridge.h} lists. */
  public long[] of(Request request) {
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, handle::use);
      arguments.positions(request.seq());
      TensorVector masks = new TensorVector();
      for (Masks each : request.masks()) {
        masks.push_back(tensor(scope, each, request));
      }
      long[] sizes = {
        NativeCodes.of(request.work()),
        request.batch(),
        request.seq(),
        NativeCodes.of(request.slice()),
        request.precision().scalarType().value,
        request.padded() ? 1 : 0,
        NativeCodes.of(request.maskFn()),
        request.ablation() instanceof DatasetAblation
            ? OF_DATA_SET
            : NativeCodes.of((Enum<?>) request.ablation()),
        NativeCodes.of(request.loss()),
        NativeCodes.of(AnswerFunction.AVG_DIFF),
        1,
        request.memoryLimit(),
        request.perPrompt() ? 1 : 0,
        request.rules().frozenNorms() ? 1 : 0,
        0
      };
      double[] factors = {
        request.dropout(),
        request.maskValue(),
        request.rules().softmaxTemperature(),
        request.rules().queriesAndKeys(),
        request.rules().values(),
        request.rules().gatedMlps()
      };
      return TensorArrays.longs(
          NativeLibrary.planMemory(
              handle.address(),
              sizes,
              sizes.length,
              factors,
              factors.length,
              masks,
              PassHandle.tensors(handle.prefix().map(PREFIXES::entries).orElse(List.of()))));
    }
  }

  /** Masks for each example are those of the first ones where the batch has fewer. */
  private Tensor tensor(CallScope scope, Masks masks, Request request) {
    arguments.graph(masks);
    NativeMasks fixed =
        MASKS.onDevice(masks, request.precision().accumulation().scalarType(), "cpu");
    scope.hold(fixed.use());
    OptionalInt examples = masks.examples();
    if (examples.isPresent() && examples.getAsInt() < request.batch()) {
      throw new IllegalArgumentException(
          "masks: expected those of %s examples, the size of the batch, got those of %s"
              .formatted(request.batch(), examples.getAsInt()));
    }
    return examples.isPresent()
        ? fixed.tensor().narrow(0, 0, request.batch()).contiguous()
        : fixed.tensor();
  }
}
