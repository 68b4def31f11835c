package org.autocircuit.internal.run;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.Arrays;
import java.util.Locale;
import java.util.function.Consumer;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.FullyPatchedCache;
import org.autocircuit.internal.NativeCodes;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.jfr.ForwardEvent;
import org.autocircuit.internal.run.PassArguments.Size;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;

/** The plain passes that source activations come from: of one batch, or the mean of many. */
final class AblationPasses {

  private static final Logger MEMORY = System.getLogger("org.autocircuit.memory");
  private static final long LARGE = 1L << 30;

  private static final Access.OfSourceActivations<SourceActivations, AblationType> ACTIVATIONS =
      Access.sourceActivations(SourceActivations.class, AblationType.class);

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

  SourceActivations of(ModelInput input, AblationType type) {
    if (type.meanOverDataset()) {
      throw new IllegalArgumentException(
          type + " is a mean over a data set: expected batches of prompt pairs, got one tensor");
    }
    try (Use use = handle.use(input, PatchContext.NONE);
        CallScope scope = new CallScope()) {
      FullyPatchedCache cache = new FullyPatchedCache();
      try {
        return ACTIVATIONS.make(ablated(input, type, cache), type, cache);
      } catch (RuntimeException | Error e) {
        cache.close();
        throw e;
      }
    }
  }

  SourceActivations of(long[][] tokens, AblationType type) {
    try (CallScope scope = new CallScope()) {
      return of(ModelInput.ofPrompts(tokens, device), type);
    }
  }

  SourceActivations of(Iterable<? extends PromptPairBatch> batches, AblationType type) {
    return mean(
        type,
        mean -> {
          for (PromptPairBatch batch : batches) {
            if (type.cleanDataset()) {
              add(mean, ModelInput.ofPrompts(batch.clean(), device));
            }
            if (type.corruptDataset()) {
              add(mean, ModelInput.ofPrompts(batch.corrupt(), device));
            }
          }
        });
  }

  SourceActivations of(Iterable<Tensor> clean, Iterable<Tensor> corrupt, AblationType type) {
    return mean(
        type,
        mean -> {
          if (type.cleanDataset()) {
            clean.forEach(input -> add(mean, ModelInput.of(input)));
          }
          if (type.corruptDataset()) {
            corrupt.forEach(input -> add(mean, ModelInput.of(input)));
          }
        });
  }

  private SourceActivations mean(AblationType type, Consumer<DataSetMean> addAll) {
    if (!type.meanOverDataset()) {
      throw new IllegalArgumentException(
          type + " does not take a data set: expected one tensor of inputs, got batches");
    }
    try (Use use = handle.use();
        CallScope scope = new CallScope();
        DataSetMean mean = new DataSetMean(precision)) {
      addAll.accept(mean);
      return ACTIVATIONS.make(mean.mean(), type, null);
    }
  }

  private void add(DataSetMean mean, ModelInput input) {
    Stop.check();
    try (CallScope scope = new CallScope()) {
      mean.add(ablated(input, AblationType.RESAMPLE, null), input.attentionMask());
    }
  }

  private Tensor ablated(ModelInput given, AblationType type, FullyPatchedCache cache) {
    ForwardEvent event = ForwardEvent.begun();
    ModelInput input = handle.behindPrefix(given);
    Size size = arguments.input(input);
    Tensor activations =
        handle.run(
            input, (model, passed) -> model.sourceAblations(passed, NativeCodes.of(type), cache));
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
