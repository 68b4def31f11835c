package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.function.Predicate;
import org.autocircuit.ApiSequenceState.Activations;
import org.autocircuit.ApiSequenceState.Mode;
import org.autocircuit.ApiSequenceState.OwnMasks;
import org.autocircuit.ApiSequenceState.OwnModel;
import org.autocircuit.ApiSequenceState.Patch;
import org.autocircuit.ApiSequenceState.Recorded;
import org.autocircuit.ApiSequenceState.Worker;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.ModelScope;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/**
 * Random calls on the public API from several threads, one at a time: models, modes, masks and
 * activations are opened, nested, used on the wrong thread, closed in any order, and used when
 * closed. {@link ApiSequenceState} says what each call should do.
 */
@SuppressWarnings("MustBeClosedChecker") // modes are closed at random, and in unwind()
final class ApiSequence {

  private static final int CROWD = 4;

  private final Random random;
  private final ApiSequenceReference reference;
  private final ApiSequenceState state = new ApiSequenceState();
  private final List<String> trace = new ArrayList<>();

  ApiSequence(long seed, ApiSequenceReference reference) {
    this.random = new Random(seed);
    this.reference = reference;
    for (int i = 0; i < 3; i++) {
      state.workers.add(new Worker());
    }
  }

  /** Makes so many calls, undoes them, and says which calls led to a failure. */
  void run(int calls) {
    try {
      for (int i = 0; i < calls; i++) {
        call();
        state.check();
      }
      unwind();
    } catch (Throwable e) {
      throw new AssertionError("after " + String.join("\n", trace), e);
    } finally {
      state.workers.forEach(Worker::end);
    }
  }

  private void call() throws Exception {
    Worker worker = pick(state.workers);
    if (state.models.isEmpty()) {
      open(worker);
      return;
    }
    OwnModel model = mostlyOpen(state.models, each -> !each.closed);
    OwnMasks masks = mostlyOpen(state.masks, each -> !each.closed);
    // Mostly on its own thread, or nothing would ever be trained.
    boolean elsewhere = random.nextInt(4) == 0 || !state.workers.contains(masks.worker);
    Worker owner = elsewhere ? worker : masks.worker;
    switch (random.nextInt(24)) {
      case 0 -> open(worker);
      case 1 -> close(worker, pick(state.models));
      case 2 -> move(owner, model);
      case 3, 4 -> sources(worker, model);
      case 5 -> closeActivations(worker);
      case 6 -> newMasks(worker, model);
      case 7 -> closeMasks(worker);
      case 8, 9 -> setMasks(owner, masks);
      case 10, 11, 12 -> patchMode(worker, model);
      case 13 -> maskFnMode(worker, model);
      case 14, 15 -> trainMaskMode(owner, model, masks);
      case 16, 17 -> closeMode(worker);
      case 18, 19 -> forward(owner, model);
      case 20 -> forwardInContext(owner, model);
      case 21 -> maskGradient(owner, model);
      case 22 -> misuse(worker, model);
      default -> trained(owner, masks);
    }
  }

  private void open(Worker worker) throws Exception {
    if (random.nextInt(6) == 0) {
      // Whatever the thread left open ends with it.
      say("end of " + worker);
      state.end(worker);
      return;
    }
    state.add(worker.call(reference::open), worker, reference.zeros());
    say("%s: open model %d".formatted(worker, state.models.size()));
  }

  private void close(Worker worker, OwnModel model) throws Exception {
    say("%s: close %s".formatted(worker, model));
    boolean scopes = !model.closed && !model.stack(worker).isEmpty();
    expect(worker, scopes ? ScopeOrderException.class : null, run(model.model::close));
    if (!model.closed) {
      state.close(model, worker);
    }
  }

  private void move(Worker worker, OwnModel model) throws Exception {
    if (state.models.size() >= CROWD) {
      state.forgetClosed();
      return;
    }
    say("%s: move %s".formatted(worker, model));
    PatchableModel moved = expect(worker, model.masks.failure(worker), () -> model.model.to("cpu"));
    if (moved != null) {
      state.add(moved, worker, model.masks.values.clone());
    }
  }

  private void sources(Worker worker, OwnModel model) throws Exception {
    int prompts = random.nextInt(ApiSequenceReference.PROMPTS);
    say("%s: sources %d of %s".formatted(worker, prompts, model));
    var made = expect(worker, model.failure(), () -> reference.sources(model.model, prompts));
    if (made != null) {
      state.activations.add(new Activations(made, prompts));
    }
  }

  private void closeActivations(Worker worker) throws Exception {
    if (!state.activations.isEmpty()) {
      Activations activations = pick(state.activations);
      say("%s: close %s".formatted(worker, activations));
      expect(worker, null, run(activations.activations::close));
      activations.closed = true;
    }
  }

  private void newMasks(Worker worker, OwnModel model) throws Exception {
    say("%s: new masks of %s".formatted(worker, model));
    var made = expect(worker, model.failure(), model.model::newMaskParameters);
    if (made != null) {
      state.masks.add(new OwnMasks(made, worker, reference.zeros()));
    }
  }

  private void closeMasks(Worker worker) throws Exception {
    OwnMasks masks = pick(state.masks);
    if (state.models.stream().noneMatch(model -> model.masks == masks)) {
      say("%s: close %s".formatted(worker, masks));
      expect(worker, null, run(masks.parameters::close));
      masks.closed = true;
    }
  }

  private void setMasks(Worker worker, OwnMasks masks) throws Exception {
    double[] values = reference.randomMasks(random);
    say("%s: set %s".formatted(worker, masks));
    Class<?> failure = masks.failure(worker);
    expect(worker, failure, run(() -> masks.parameters.set(values)));
    if (failure == null) {
      masks.write(values);
    }
  }

  private void patchMode(Worker worker, OwnModel model) throws Exception {
    if (state.activations.isEmpty()) {
      return;
    }
    Patch patch = randomPatch(model);
    say("%s: patchMode %s of %s".formatted(worker, patch, model));
    ModelScope scope =
        expect(
            worker,
            model.closed || patch.activations().closed ? IllegalStateException.class : null,
            () -> model.model.patchMode(patch.activations().activations, patch.maskValues()));
    push(worker, model, scope, patch, null);
  }

  private void maskFnMode(Worker worker, OwnModel model) throws Exception {
    MaskFn maskFn = random.nextBoolean() ? MaskFn.SIGMOID : MaskFn.NONE;
    say("%s: maskFnMode %s of %s".formatted(worker, maskFn, model));
    ModelScope scope = expect(worker, model.failure(), () -> model.model.maskFnMode(maskFn));
    push(worker, model, scope, null, maskFn);
  }

  private void trainMaskMode(Worker worker, OwnModel model, OwnMasks masks) throws Exception {
    boolean wantsGrad = random.nextInt(4) > 0;
    say("%s: trainMaskMode(%s, %s) of %s".formatted(worker, masks, wantsGrad, model));
    Class<?> failure = model.closed ? model.failure() : masks.failure(worker);
    ModelScope scope =
        expect(worker, failure, () -> model.model.trainMaskMode(masks.parameters, wantsGrad));
    Mode mode = push(worker, model, scope, null, null);
    if (mode != null) {
      masks.train(mode, wantsGrad);
    }
  }

  private Mode push(Worker worker, OwnModel model, ModelScope scope, Patch patch, MaskFn maskFn) {
    if (scope == null) {
      return null;
    }
    Mode mode = new Mode(scope, model, worker, patch, maskFn);
    state.modes.add(mode);
    return mode;
  }

  private void closeMode(Worker worker) throws Exception {
    if (state.modes.isEmpty()) {
      return;
    }
    Mode mode = pick(state.modes);
    // Mostly on its own thread, or nothing would ever be closed.
    boolean elsewhere = random.nextInt(4) == 0 || !state.workers.contains(mode.worker);
    Worker closer = elsewhere ? worker : mode.worker;
    say("%s: close %s".formatted(closer, mode));
    List<Mode> stack = mode.model.stack(mode.worker);
    if (!mode.open) {
      expect(closer, null, run(mode.scope::close));
    } else if (closer != mode.worker) {
      expect(closer, IllegalStateException.class, run(mode.scope::close));
    } else {
      boolean innermost = stack.get(stack.size() - 1) == mode;
      expect(closer, innermost ? null : ScopeOrderException.class, run(mode.scope::close));
      state.closeInnerAnd(mode);
    }
  }

  /** With the modes of the thread. */
  private void forward(Worker worker, OwnModel model) throws Exception {
    Patch patch = model.patchInForce(worker);
    say("%s: forward of %s with %s".formatted(worker, model, patch));
    int prompts = random.nextInt(ApiSequenceReference.PROMPTS);
    Recorded recorded =
        expect(
            worker,
            patch.failure(model, worker),
            () -> {
              try (PointerScope scope = new PointerScope()) {
                Tensor logits = model.model.forward(reference.tokens(prompts));
                reference.assertLogits(TensorArrays.doubles(logits), prompts, patch);
                assertThat(logits.requires_grad()).isEqualTo(patch.isRecorded());
                return patch.isRecorded() ? Recorded.keeping(logits, patch.own()) : null;
              }
            });
    if (recorded != null) {
      state.recorded.add(recorded);
    }
  }

  private void forwardInContext(Worker worker, OwnModel model) throws Exception {
    Patch patch = state.activations.isEmpty() ? Patch.NONE : randomPatch(model);
    say("%s: forward of %s in %s".formatted(worker, model, patch));
    int prompts = random.nextInt(ApiSequenceReference.PROMPTS);
    expect(
        worker,
        patch.failure(model, worker),
        () -> {
          float[][] logits = model.model.logits(reference.prompts(prompts), patch.context());
          reference.assertLogits(ApiSequenceReference.flat(logits), prompts, patch);
          return null;
        });
  }

  private void maskGradient(Worker worker, OwnModel model) throws Exception {
    if (state.activations.isEmpty()) {
      return;
    }
    Patch patch = randomPatch(model);
    say("%s: maskGradient of %s in %s".formatted(worker, model, patch));
    int prompts = random.nextInt(ApiSequenceReference.PROMPTS);
    expect(
        worker,
        patch.failure(model, worker),
        () -> {
          reference.assertGradient(model.model, prompts, patch);
          return null;
        });
  }

  private void misuse(Worker worker, OwnModel model) throws Exception {
    say("%s: misuse of %s".formatted(worker, model));
    Class<?> refused = model.closed ? model.failure() : IllegalArgumentException.class;
    expect(worker, refused, run(() -> model.model.logits(new long[][] {{-1}}, PatchContext.NONE)));
    expect(
        worker,
        IllegalArgumentException.class,
        run(() -> model.model.patchModeByName(null, List.of("no edge"))));
    expect(
        worker,
        IllegalStateException.class,
        () -> {
          Tensor freed = new Tensor();
          freed.close();
          return model.model.forward(freed);
        });
  }

  /** A backward pass, or a look at gradients. */
  private void trained(Worker worker, OwnMasks masks) throws Exception {
    if (!state.recorded.isEmpty() && random.nextBoolean()) {
      Recorded recorded = state.recorded.remove(random.nextInt(state.recorded.size()));
      say("%s: backward to %s".formatted(worker, recorded.masks()));
      if (recorded.isStale()) {
        // Masks that were written since: autograd may refuse.
        recorded.drop();
      } else {
        expect(worker, null, run(recorded::backward));
        recorded.masks().hasGradients = true;
      }
    } else {
      say("%s: gradients of %s".formatted(worker, masks));
      Class<?> failure = masks.failure(worker);
      boolean none = failure == null && !masks.hasGradients;
      expect(worker, none ? IllegalStateException.class : failure, masks.parameters::gradientArray);
    }
  }

  private Patch randomPatch(OwnModel model) {
    Activations activations = mostlyOpen(state.activations, each -> !each.closed);
    if (random.nextBoolean()) {
      OwnMasks masks = mostlyOpen(state.masks, each -> !each.closed);
      return new Patch(activations, masks, null, MaskFn.NONE);
    }
    Masks fixed = Masks.of(model.graph, reference.randomMasks(random));
    return new Patch(activations, null, fixed, MaskFn.NONE);
  }

  /** Closes everything on its own thread, inner modes first. */
  private void unwind() throws Exception {
    for (int i = state.modes.size() - 1; i >= 0; i--) {
      Mode mode = state.modes.get(i);
      if (mode.open) {
        say("unwind " + mode);
        expect(mode.worker, null, run(mode.scope::close));
        state.closeInnerAnd(mode);
      }
    }
    state.check();
    for (OwnModel model : state.models) {
      assertThat(model.model.openScopes()).isEmpty();
      if (!model.closed) {
        float[][] logits = model.model.logits(reference.prompts(0));
        reference.assertLogits(ApiSequenceReference.flat(logits), 0, Patch.NONE);
      }
      model.model.close();
    }
    state.activations.forEach(each -> each.activations.close());
    state.masks.forEach(each -> each.parameters.close());
    state.recorded.forEach(Recorded::drop);
  }

  /** Makes a call on a thread, and fails if it throws anything else than expected. */
  private <T> T expect(Worker worker, Class<?> failure, Callable<T> call) throws Exception {
    T result;
    try {
      result = worker.call(call);
    } catch (RuntimeException e) {
      assertThat(e.getClass()).isEqualTo(failure);
      return null;
    }
    assertThat(failure).as("no exception").isNull();
    return result;
  }

  private static Callable<Void> run(Runnable call) {
    return () -> {
      call.run();
      return null;
    };
  }

  private <T> T mostlyOpen(List<T> list, Predicate<T> isOpen) {
    List<T> open = list.stream().filter(isOpen).toList();
    return pick(open.isEmpty() || random.nextInt(5) == 0 ? list : open);
  }

  private <T> T pick(List<T> list) {
    return list.get(random.nextInt(list.size()));
  }

  private void say(String what) {
    trace.add(what);
  }
}
