package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.autocircuit.ApiSequenceState.Activations;
import org.autocircuit.ApiSequenceState.Mode;
import org.autocircuit.ApiSequenceState.OwnModel;
import org.autocircuit.ApiSequenceState.Prefix;
import org.autocircuit.ApiSequenceState.Recorded;
import org.autocircuit.ApiSequenceState.Worker;
import org.autocircuit.exception.ScopeOrderException;
import org.autocircuit.mode.ModelScope;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;

/**
 * Random calls on the public API from several threads, one at a time: models, modes, masks and
 * activations are opened, nested, used on the wrong thread, closed in any order, and used when
 * closed. {@link ApiSequenceState} says what each call should do.
 */
@SuppressWarnings("MustBeClosedChecker") // modes are closed at random, and in unwind()
final class ApiSequence extends ApiSequencePasses {

  private static final int CROWD = 4;

  ApiSequence(long seed, ApiSequenceReference reference) {
    super(seed, reference);
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
    ApiSequenceMasks masks = mostlyOpen(state.masks, each -> !each.closed);
    // Mostly on its own thread, or nothing would ever be trained.
    boolean elsewhere = random.nextInt(4) == 0 || !state.workers.contains(masks.worker);
    Worker owner = elsewhere ? worker : masks.worker;
    switch (random.nextInt(37)) {
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
      case 23, 24 -> maskBatchSize(owner, model, masks);
      case 25 -> newPrefix(worker, model);
      case 26 -> withPrefix(worker, model);
      case 27 -> closePrefix(worker);
      case 28, 29 -> stack(owner, model);
      case 30 -> beginRun(owner, model);
      case 31, 32 -> goOn(worker);
      case 33 -> commitOrClose(worker);
      case 34 -> forwardFromBlock(owner, model);
      case 35 -> probe(owner, model);
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
    state.add(worker.call(reference::open), null, worker, reference.zeros());
    say("%s: open model %s".formatted(worker, state.models.size()));
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
    if (isCrowded()) {
      return;
    }
    say("%s: move %s".formatted(worker, model));
    Class<?> failure = model.hasPrefix() ? IllegalStateException.class : model.failure();
    PatchableModel moved = expect(worker, failure, () -> model.model.to("cpu"));
    if (moved != null) {
      state.add(moved, null, worker, model.masks.outsideModes().clone());
    }
  }

  private boolean isCrowded() {
    if (state.models.size() >= CROWD) {
      state.forgetClosed();
    }
    return state.models.size() >= CROWD;
  }

  private void newPrefix(Worker worker, OwnModel model) throws Exception {
    if (model.prefixTokens().size() == 2) {
      // Three would leave no room for prompts.
      return;
    }
    int number = random.nextInt(ApiSequenceReference.PREFIXES);
    say("%s: prefix %s of %s".formatted(worker, number, model));
    PrefixCache made =
        expect(
            worker,
            model.passFailure(),
            () -> model.model.prefixOf(reference.prefixTokens(number)));
    if (made != null) {
      List<Integer> tokens = new ArrayList<>(model.prefixTokens());
      tokens.add(number);
      state.prefixes.add(new Prefix(made, tokens));
    }
  }

  private void withPrefix(Worker worker, OwnModel model) throws Exception {
    if (isCrowded() || state.prefixes.isEmpty()) {
      return;
    }
    Prefix prefix = mostlyOpen(state.prefixes, each -> !each.closed);
    say("%s: %s with %s".formatted(worker, model, prefix));
    Class<?> failure = prefix.closed ? IllegalStateException.class : model.failure();
    PatchableModel made = expect(worker, failure, () -> model.model.withPrefix(prefix.cache));
    if (made != null) {
      state.add(made, prefix, worker, reference.zeros());
    }
  }

  private void closePrefix(Worker worker) throws Exception {
    if (!state.prefixes.isEmpty() && random.nextBoolean()) {
      Prefix prefix = pick(state.prefixes);
      say("%s: close %s".formatted(worker, prefix));
      expect(worker, null, run(prefix.cache::close));
      prefix.closed = true;
    }
  }

  private void sources(Worker worker, OwnModel model) throws Exception {
    int prompts = random.nextInt(ApiSequenceReference.PROMPTS);
    say("%s: sources %s of %s".formatted(worker, prompts, model));
    var made = expect(worker, model.passFailure(), () -> reference.sources(model.model, prompts));
    if (made != null) {
      state.activations.add(new Activations(made, prompts, model.prefixTokens()));
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
      state.masks.add(new ApiSequenceMasks(made, worker, reference.zeros()));
    }
  }

  private void closeMasks(Worker worker) throws Exception {
    ApiSequenceMasks masks = pick(state.masks);
    if (state.models.stream().noneMatch(model -> model.masks == masks)) {
      say("%s: close %s".formatted(worker, masks));
      expect(worker, null, run(masks.parameters::close));
      masks.closed = true;
    }
  }

  private void setMasks(Worker worker, ApiSequenceMasks masks) throws Exception {
    Class<?> failure = masks.failure(worker);
    say("%s: set %s".formatted(worker, masks));
    if (masks.examples() > 0 && random.nextBoolean()) {
      double[][] rows = new double[masks.examples()][];
      Arrays.setAll(rows, i -> reference.randomMasks(random));
      Masks each = Masks.perExample(masks.parameters.graph(), rows);
      expect(worker, failure, run(() -> masks.parameters.set(each)));
      if (failure == null) {
        masks.writeEach(each.toArray());
      }
      return;
    }
    double[] values = reference.randomMasks(random);
    expect(worker, failure, run(() -> masks.parameters.set(values)));
    if (failure == null) {
      masks.write(values);
    }
  }

  private void maskBatchSize(Worker worker, OwnModel model, ApiSequenceMasks masks)
      throws Exception {
    int examples = random.nextInt(5) == 0 ? 1 + 2 * random.nextInt(2) : ApiSequenceReference.BATCH;
    say("%s: setMaskBatchSize(%s, %s) of %s".formatted(worker, masks, examples, model));
    Class<?> failure = model.closed ? model.failure() : masks.failure(worker);
    ModelScope scope =
        expect(worker, failure, () -> model.model.setMaskBatchSize(masks.parameters, examples));
    Mode mode = push(worker, model, scope, null, null, masks);
    if (mode != null) {
      masks.enter(mode, examples);
    }
  }

  private void patchMode(Worker worker, OwnModel model) throws Exception {
    if (state.activations.isEmpty()) {
      return;
    }
    ApiSequencePatch patch = randomPatch(model, MaskFn.NONE);
    say("%s: patchMode %s of %s".formatted(worker, patch, model));
    ModelScope scope =
        expect(
            worker,
            model.closed || patch.activations().closed ? IllegalStateException.class : null,
            () -> model.model.patchMode(patch.activations().activations, patch.maskValues()));
    push(worker, model, scope, patch, null, null);
  }

  private void maskFnMode(Worker worker, OwnModel model) throws Exception {
    MaskFn maskFn = random.nextBoolean() ? MaskFn.SIGMOID : MaskFn.NONE;
    say("%s: maskFnMode %s of %s".formatted(worker, maskFn, model));
    ModelScope scope = expect(worker, model.failure(), () -> model.model.maskFnMode(maskFn));
    push(worker, model, scope, null, maskFn, null);
  }

  private void trainMaskMode(Worker worker, OwnModel model, ApiSequenceMasks masks)
      throws Exception {
    boolean wantsGrad = random.nextInt(4) > 0;
    say("%s: trainMaskMode(%s, %s) of %s".formatted(worker, masks, wantsGrad, model));
    Class<?> failure = model.closed ? model.failure() : masks.failure(worker);
    ModelScope scope =
        expect(worker, failure, () -> model.model.trainMaskMode(masks.parameters, wantsGrad));
    Mode mode = push(worker, model, scope, null, null, masks);
    if (mode != null) {
      masks.train(mode, wantsGrad);
    }
  }

  private Mode push(
      Worker worker,
      OwnModel model,
      ModelScope scope,
      ApiSequencePatch patch,
      MaskFn maskFn,
      ApiSequenceMasks masks) {
    if (scope == null) {
      return null;
    }
    Mode mode = new Mode(scope, model, worker, patch, maskFn, masks);
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
      if (model.passFailure() == null) {
        float[][] logits = model.model.logits(reference.prompts(0));
        reference.assertLogits(
            ApiSequenceReference.flat(logits), model.prefixTokens(), 0, ApiSequencePatch.NONE);
      }
      model.model.close();
    }
    state.activations.forEach(each -> each.activations.close());
    state.masks.forEach(each -> each.parameters.close());
    state.recorded.forEach(Recorded::drop);
    state.runs.forEach(each -> each.run.close());
    state.prefixes.forEach(each -> each.cache.close());
  }
}
