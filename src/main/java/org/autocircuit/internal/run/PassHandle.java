package org.autocircuit.internal.run;

import java.util.List;
import java.util.Optional;
import java.util.function.BiFunction;
import java.util.function.Function;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.exception.NativeException;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.PatchableHandle;
import org.autocircuit.internal.jfr.WorkspaceEvent;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;

/**
 * A native model as passes take it: kept open while they run, their prompts behind its prefix, and
 * failures explained by what the prompts are.
 */
final class PassHandle {

  private final PatchableHandle handle;
  private final PassArguments arguments;
  private final Optional<PrefixCache> prefix;

  /** Takes the handle over; the prefix stays the caller's. */
  PassHandle(PatchableHandle handle, PassArguments arguments, Optional<PrefixCache> prefix) {
    this.handle = handle;
    this.arguments = arguments;
    this.prefix = prefix;
  }

  /** Returns what stands before the prompts of all passes that bring no prefix of their own. */
  Optional<PrefixCache> prefix() {
    return prefix;
  }

  ModelInput behindPrefix(ModelInput input) {
    return prefix.isPresent() && input.prefix().isEmpty() ? input.withPrefix(prefix.get()) : input;
  }

  /** Keeps the model and its prefix open for this thread. */
  Use use() {
    Use use = handle.use()::close;
    return prefix.isPresent() ? use.and(prefix.get()::use) : use;
  }

  /** Keeps all that a pass needs open for this thread. */
  Use use(ModelInput input, PatchContext context) {
    return use().and(context::use).and(input::use);
  }

  Use use(EdgeAttribution attribution) {
    Use use = use();
    for (ModelInput input : inputs(attribution)) {
      use = use.and(input::use);
    }
    Optional<SourceActivations> activations = attribution.activations();
    return activations.isPresent() ? use.and(activations.get()::use) : use;
  }

  /** Makes a native call. If it fails, the input's tokens are looked at for a better word. */
  <T> T run(ModelInput input, BiFunction<PatchableHandle, PatchableHandle.Input, T> call) {
    return run(List.of(input), model -> call.apply(model, passed(input)));
  }

  /** As the other, with several inputs. */
  <T> T run(List<ModelInput> inputs, Function<PatchableHandle, T> call) {
    try {
      T results = call.apply(handle);
      WorkspaceEvent.ifGrown(NativeMath::workspaceBytes);
      return results;
    } catch (NativeException e) {
      inputs.forEach(input -> arguments.tokens(input.value(), e));
      throw e;
    }
  }

  /** The clean prompts, then the corrupt ones if there are any. */
  static List<ModelInput> inputs(EdgeAttribution attribution) {
    ModelInput clean = attribution.clean();
    return attribution.corrupt().map(corrupt -> List.of(clean, corrupt)).orElse(List.of(clean));
  }

  /** An input as native code takes it. */
  static PatchableHandle.Input passed(ModelInput input) {
    return new PatchableHandle.Input(
        input.value(),
        input.attentionMask().orElse(null),
        input.prefix().map(PrefixPass::entries).orElse(List.of()));
  }

  void requireUsable() {
    handle.requireUsable();
  }

  boolean isClosed() {
    return handle.isClosed();
  }

  /** Closes; false if it was closed before. */
  boolean close() {
    return handle.close();
  }
}
