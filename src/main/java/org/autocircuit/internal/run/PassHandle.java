package org.autocircuit.internal.run;

import java.util.Collection;
import java.util.List;
import java.util.Optional;
import java.util.function.Supplier;
import org.autocircuit.exception.NativeException;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.internal.Patch;
import org.autocircuit.internal.jfr.FailureEvent;
import org.autocircuit.internal.jni.NativeLibrary;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/**
 * A native patchable model as passes take it: kept open while they run, their prompts behind its
 * prefix, and failures explained by what the prompts are.
 */
final class PassHandle {

  private static final Access.OfPrefixCache<PrefixCache> PREFIXES =
      Access.prefixCache(PrefixCache.class);

  private final String name;
  private final long address;
  private final NativeResource resource;
  private final PassArguments arguments;
  private final Optional<PrefixCache> prefix;

  /** Takes charge of the native model; the prefix stays the caller's. */
  PassHandle(String name, long address, PassArguments arguments, Optional<PrefixCache> prefix) {
    this.name = name;
    this.address = address;
    this.resource = new NativeResource(name, () -> NativeLibrary.releasePatchableModel(address));
    this.arguments = arguments;
    this.prefix = prefix;
  }

  /** The native model, for calls within a {@link #use}. */
  long address() {
    return address;
  }

  /** Returns what stands before the prompts of all passes that bring no prefix of their own. */
  Optional<PrefixCache> prefix() {
    return prefix;
  }

  /** Keeps the model and its prefix open for this thread. */
  Use use() {
    Use use = resource.use()::close;
    return prefix.isPresent() ? use.and(prefix.get()::use) : use;
  }

  /** Begins a use that the scope ends. */
  static void hold(CallScope scope, Supplier<Use> begin) {
    Use use = begin.get();
    scope.hold(use::close);
  }

  /** The input behind the prefix that it stands after, which the scope keeps open. */
  ModelInput behindPrefix(CallScope scope, ModelInput input) {
    if (input.prefix().isPresent()) {
      hold(scope, input::use);
      return input;
    }
    return prefix.isPresent() ? input.withPrefix(prefix.get()) : input;
  }

  /** An input as native code takes it, of the innermost scope. */
  static TensorVector tensors(ModelInput input) {
    TensorVector tensors =
        new TensorVector(input.value(), Patch.orUndefined(input.attentionMask().orElse(null)));
    input.prefix().map(PREFIXES::entries).orElse(List.of()).forEach(tensors::push_back);
    return tensors;
  }

  /** Tensors as native code takes them, of the innermost scope. */
  static TensorVector tensors(Collection<Tensor> values) {
    TensorVector tensors = new TensorVector();
    values.forEach(tensors::push_back);
    return tensors;
  }

  /**
   * Says in words of this library what native code refused.
   *
   * @return to be thrown if the inputs are as they should be
   * @throws IllegalArgumentException if tokens of an input are outside the vocabulary
   */
  NativeException explained(NativeException failure, List<ModelInput> inputs) {
    inputs.forEach(input -> arguments.tokens(input.value(), failure));
    FailureEvent.write(name, failure);
    return failure;
  }

  void requireUsable() {
    resource.requireUsable();
  }

  boolean isClosed() {
    return resource.isClosed();
  }

  /** Closes; false if it was closed before. */
  boolean close() {
    return resource.closeFirst();
  }
}
