package org.autocircuit.internal.run;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.NativeException;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.FullyPatchedCache;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.jfr.ForwardEvent;
import org.autocircuit.internal.jfr.WorkspaceEvent;
import org.autocircuit.internal.jni.NativeLibrary;
import org.autocircuit.internal.run.PassArguments.Size;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.Ablation;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;

/** The plain passes that source activations come from: of one batch, or the mean of many. */
public final class AblationPasses {

  private static final Logger MEMORY = System.getLogger("org.autocircuit.memory");
  private static final long LARGE = 1L << 30;

  private static final Access.OfSourceActivations<SourceActivations, Ablation> ACTIVATIONS =
      PassArguments.ACTIVATIONS;

  private final String name;
  private final Precision precision;
  private final String device;
  private final PassArguments arguments;
  private final PassHandle handle;

  AblationPasses(
      String name, Precision precision, String device, PassArguments arguments, PassHandle handle) {
    this.name = name;
    this.precision = precision;
    this.device = device;
    this.arguments = arguments;
    this.handle = handle;
  }

  /** Of one batch; of the request only the prompts count. */
  public SourceActivations of(ForwardRequest prompts, BatchAblation ablation) {
    try (CallScope scope = new CallScope()) {
      PassHandle.hold(scope, handle::use);
      ModelInput input = handle.behindPrefix(scope, prompts.input(device));
      FullyPatchedCache cache = new FullyPatchedCache();
      try {
        return ACTIVATIONS.make(ablated(input, ablation, cache.address()), ablation, cache);
      } catch (RuntimeException | Error e) {
        cache.close();
        throw e;
      }
    }
  }

  /** The mean over the prompts of a data set. */
  public SourceActivations of(
      Iterable<? extends PromptPairBatch> batches, DatasetAblation ablation) {
    return mean(
        ablation,
        mean -> {
          for (PromptPairBatch batch : batches) {
            if (ablation.clean()) {
              add(mean, ForwardRequest.of(batch.clean()));
            }
            if (ablation.corrupt()) {
              add(mean, ForwardRequest.of(batch.corrupt()));
            }
          }
        });
  }

  /** The mean over a data set whose inputs are tensors. */
  public SourceActivations of(
      Iterable<Tensor> clean, Iterable<Tensor> corrupt, DatasetAblation ablation) {
    return mean(
        ablation,
        mean -> {
          if (ablation.clean()) {
            clean.forEach(input -> add(mean, ForwardRequest.of(input)));
          }
          if (ablation.corrupt()) {
            corrupt.forEach(input -> add(mean, ForwardRequest.of(input)));
          }
        });
  }

  private SourceActivations mean(DatasetAblation ablation, Consumer<DataSetMean> addAll) {
    try (CallScope scope = new CallScope();
        DataSetMean mean = new DataSetMean(precision)) {
      PassHandle.hold(scope, handle::use);
      addAll.accept(mean);
      return ACTIVATIONS.make(mean.mean(), ablation, null);
    }
  }

  /** Each batch has a scope of its own, within the use of all. */
  private void add(DataSetMean mean, ForwardRequest prompts) {
    Stop.check();
    try (CallScope scope = new CallScope()) {
      ModelInput input = handle.behindPrefix(scope, prompts.input(device));
      mean.add(ablated(input, BatchAblation.RESAMPLE, 0), input.attentionMask());
    }
  }

  private Tensor ablated(ModelInput input, BatchAblation ablation, long cache) {
    ForwardEvent event = ForwardEvent.begun();
    Size size = arguments.input(input);
    Tensor activations;
    try {
      activations =
          NativeLibrary.sourceAblations(
              handle.address(), PassHandle.tensors(input), NativeCodes.of(ablation), cache);
    } catch (NativeException e) {
      throw handle.explained(e, List.of(input));
    }
    WorkspaceEvent.ifGrown(NativeMath::workspaceBytes);
    event.end(name, size.batch(), size.seq(), false, false, true);
    long bytes = activations.storage().nbytes();
    if (bytes >= LARGE) {
      MEMORY.log(
          Level.INFO,
          String.format(
              Locale.ROOT,
              "source activations %s of %s hold %,d bytes",
              Arrays.toString(activations.shape()),
              name,
              bytes));
    }
    return activations;
  }
}
