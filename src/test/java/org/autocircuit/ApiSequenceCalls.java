package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.function.Predicate;
import org.autocircuit.ApiSequenceState.Activations;
import org.autocircuit.ApiSequenceState.OwnModel;
import org.autocircuit.ApiSequenceState.Worker;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;

/** Says what calls of an {@link ApiSequence} are made with. */
abstract class ApiSequenceCalls {

  final Random random;
  final ApiSequenceReference reference;
  final ApiSequenceState state = new ApiSequenceState();
  final List<String> trace = new ArrayList<>();

  ApiSequenceCalls(long seed, ApiSequenceReference reference) {
    this.random = new Random(seed);
    this.reference = reference;
    for (int i = 0; i < 3; i++) {
      state.workers.add(new Worker());
    }
  }

  final ApiSequencePatch randomPatch(OwnModel model, MaskFn maskFn) {
    Activations activations = mostlyOpen(state.activations, each -> !each.closed);
    if (random.nextBoolean()) {
      ApiSequenceMasks masks = mostlyOpen(state.masks, each -> !each.closed);
      return new ApiSequencePatch(activations, masks, null, maskFn);
    }
    Masks fixed = Masks.of(model.graph, reference.randomMasks(random));
    return new ApiSequencePatch(activations, null, fixed, maskFn);
  }

  final <T> T expect(Worker worker, Class<?> failure, Callable<T> call) throws Exception {
    return expectOneOf(failure == null ? Set.of() : Set.of(failure), worker, call);
  }

  /** Makes a call on a thread, and fails if it throws anything else than one of what is wrong. */
  final <T> T expectOneOf(Set<Class<?>> failures, Worker worker, Callable<T> call)
      throws Exception {
    T result;
    try {
      result = worker.call(call);
    } catch (RuntimeException e) {
      if (!failures.contains(e.getClass())) {
        throw new AssertionError("expected one of " + failures, e);
      }
      return null;
    }
    assertThat(failures).as("no exception").isEmpty();
    return result;
  }

  static Callable<Void> run(Runnable call) {
    return () -> {
      call.run();
      return null;
    };
  }

  final <T> T mostlyOpen(List<T> list, Predicate<T> isOpen) {
    List<T> open = list.stream().filter(isOpen).toList();
    return pick(open.isEmpty() || random.nextInt(5) == 0 ? list : open);
  }

  final <T> T pick(List<T> list) {
    return list.get(random.nextInt(list.size()));
  }

  final void say(String what) {
    trace.add(what);
  }
}
