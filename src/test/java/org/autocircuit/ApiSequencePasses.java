package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;
import org.autocircuit.ApiSequenceState.Activations;
import org.autocircuit.ApiSequenceState.OwnModel;
import org.autocircuit.ApiSequenceState.Recorded;
import org.autocircuit.ApiSequenceState.Run;
import org.autocircuit.ApiSequenceState.Worker;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.pass.IncrementalRun;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.StackedContexts;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** The calls of an {@link ApiSequence} that compute. */
@SuppressWarnings("MustBeClosedChecker") // it is refused on purpose
abstract class ApiSequencePasses extends ApiSequenceCalls {

  private static final int RUNS = 3;

  ApiSequencePasses(long seed, ApiSequenceReference reference) {
    super(seed, reference);
  }

  private MaskFn randomMaskFn() {
    return random.nextBoolean() ? MaskFn.NONE : pick(List.of(MaskFn.values()));
  }

  private ApiSequencePatch patchOrNone(OwnModel model, MaskFn maskFn) {
    return state.activations.isEmpty() || random.nextInt(8) == 0
        ? ApiSequencePatch.NONE
        : randomPatch(model, maskFn);
  }

  /** With the modes of the thread. */
  final void forward(Worker worker, OwnModel model) throws Exception {
    ApiSequencePatch patch = model.patchInForce(worker);
    say("%s: forward of %s with %s".formatted(worker, model, patch));
    int prompts = random.nextInt(ApiSequenceReference.PROMPTS);
    Recorded recorded =
        expectOneOf(
            patch.failures(model, worker),
            worker,
            () -> {
              try (PointerScope scope = new PointerScope()) {
                Tensor logits = model.model.forward(reference.tokens(prompts));
                reference.assertLogits(
                    TensorArrays.doubles(logits), model.prefixTokens(), prompts, patch);
                assertThat(logits.requires_grad()).isEqualTo(patch.isRecorded());
                return patch.isRecorded() ? Recorded.keeping(logits, patch.own()) : null;
              }
            });
    if (recorded != null) {
      state.recorded.add(recorded);
    }
  }

  final void forwardInContext(Worker worker, OwnModel model) throws Exception {
    ApiSequencePatch patch = patchOrNone(model, randomMaskFn());
    say("%s: forward of %s in %s".formatted(worker, model, patch));
    int prompts = random.nextInt(ApiSequenceReference.PROMPTS);
    expectOneOf(
        patch.failures(model, worker),
        worker,
        () -> {
          float[][] logits = model.model.logits(reference.prompts(prompts), patch.context());
          reference.assertLogits(
              ApiSequenceReference.flat(logits), model.prefixTokens(), prompts, patch);
          return null;
        });
  }

  final void maskGradient(Worker worker, OwnModel model) throws Exception {
    if (state.activations.isEmpty()) {
      return;
    }
    ApiSequencePatch patch = randomPatch(model, randomMaskFn());
    say("%s: maskGradient of %s in %s".formatted(worker, model, patch));
    int prompts = random.nextInt(ApiSequenceReference.PROMPTS);
    expectOneOf(
        patch.failures(model, worker),
        worker,
        () -> {
          reference.assertGradient(model, prompts, patch);
          return null;
        });
  }

  final void misuse(Worker worker, OwnModel model) throws Exception {
    say("%s: misuse of %s".formatted(worker, model));
    boolean refuses = model.passFailure() != null;
    Class<?> refused = refuses ? model.passFailure() : IllegalArgumentException.class;
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
  final void trained(Worker worker, ApiSequenceMasks masks) throws Exception {
    if (!state.recorded.isEmpty() && random.nextBoolean()) {
      Recorded recorded = state.recorded.remove(random.nextInt(state.recorded.size()));
      say("%s: backward to %s".formatted(worker, recorded.masks()));
      if (recorded.isStale()) {
        // Masks that were written since: autograd may refuse.
        recorded.drop();
      } else {
        expect(worker, null, run(recorded::backward));
        recorded.layer().wentBackward();
      }
    } else {
      say("%s: gradients of %s".formatted(worker, masks));
      Class<?> failure = masks.failure(worker);
      boolean none = failure == null && !masks.hasGradients();
      expect(worker, none ? IllegalStateException.class : failure, masks.parameters::gradientArray);
    }
  }

  /** From the residual stream behind the first block. */
  final void forwardFromBlock(Worker worker, OwnModel model) throws Exception {
    ApiSequencePatch patch = patchOrNone(model, randomMaskFn());
    int prompts = random.nextInt(ApiSequenceReference.PROMPTS);
    say("%s: forward of %s from block 1 in %s".formatted(worker, model, patch));
    expectOneOf(
        patch.failures(model, worker),
        worker,
        () -> {
          reference.assertFromBlock(model, prompts, patch);
          return null;
        });
  }

  /** Training that begins, makes steps and ends, whatever modes are open. */
  final void probe(Worker worker, OwnModel model) throws Exception {
    if (state.activations.isEmpty()) {
      return;
    }
    Activations activations = mostlyOpen(state.activations, each -> !each.closed);
    int prompts = random.nextInt(ApiSequenceReference.PROMPTS);
    say("%s: probing of %s with %s".formatted(worker, model, activations));
    boolean refused = model.passFailure() != null || activations.closed;
    expect(
        worker,
        refused ? IllegalStateException.class : null,
        () -> {
          reference.assertProbing(model, prompts, activations);
          return null;
        });
  }

  /** Several contexts in one pass, and the stack when it is closed. */
  final void stack(Worker worker, OwnModel model) throws Exception {
    MaskFn maskFn = random.nextInt(6) == 0 ? pick(List.of(MaskFn.values())) : MaskFn.NONE;
    List<ApiSequencePatch> patches = new ArrayList<>();
    List<long[][]> prompts = new ArrayList<>();
    List<Integer> numbers = new ArrayList<>();
    for (int i = 0; i <= 1 + random.nextInt(2); i++) {
      patches.add(patchOrNone(model, random.nextInt(20) == 0 ? randomMaskFn() : maskFn));
      numbers.add(random.nextInt(ApiSequenceReference.PROMPTS));
      prompts.add(reference.prompts(numbers.get(i)));
    }
    say("%s: stack of %s on %s".formatted(worker, patches, model));
    List<PatchContext> contexts = patches.stream().map(ApiSequencePatch::context).toList();
    StackedContexts stack =
        expectOneOf(
            stackFailures(patches, worker), worker, () -> PatchContext.stack(contexts, prompts));
    if (stack == null) {
      return;
    }
    // Whatever goes wrong from here is the model's.
    expect(
        worker,
        model.passFailure(),
        () -> {
          float[][] logits = model.model.logits(stack.join(prompts), stack.context());
          List<float[][]> each = stack.split(logits);
          for (int i = 0; i < each.size(); i++) {
            reference.assertLogits(
                ApiSequenceReference.flat(each.get(i)),
                model.prefixTokens(),
                numbers.get(i),
                patches.get(i));
          }
          return null;
        });
    stack.close();
    expect(worker, IllegalStateException.class, stack::context);
  }

  private static Set<Class<?>> stackFailures(List<ApiSequencePatch> patches, Worker worker) {
    Set<Class<?>> failures = new HashSet<>();
    Set<MaskFn> maskFns = new HashSet<>();
    for (ApiSequencePatch patch : patches) {
      failures.addAll(patch.failures(worker, ApiSequenceReference.BATCH));
      if (patch.isPatched()) {
        maskFns.add(patch.maskFn());
        if (patch.own() != null
            && patch.own().failure(worker) == null
            && patch.own().isTraining()) {
          failures.add(IllegalArgumentException.class);
        }
      }
    }
    if (maskFns.size() > 1 || maskFns.contains(MaskFn.HARD_CONCRETE)) {
      failures.add(IllegalArgumentException.class);
    }
    return failures;
  }

  final void beginRun(Worker worker, OwnModel model) throws Exception {
    if (state.activations.isEmpty()) {
      return;
    }
    if (state.runs.size() >= RUNS) {
      state.runs.removeIf(each -> each.closed);
      return;
    }
    MaskFn maskFn = random.nextInt(6) == 0 ? MaskFn.SIGMOID : MaskFn.NONE;
    ApiSequencePatch patch = randomPatch(model, maskFn);
    int prompts = random.nextInt(ApiSequenceReference.PROMPTS);
    say("%s: run of %s in %s".formatted(worker, model, patch));
    Set<Class<?>> failures = patch.failures(model, worker);
    boolean each = patch.own() != null && patch.own().examples() > 0;
    if (maskFn != MaskFn.NONE || each) {
      failures.add(IllegalArgumentException.class);
    }
    IncrementalRun made =
        expectOneOf(
            failures,
            worker,
            () -> {
              try (PointerScope scope = new PointerScope()) {
                ModelInput input = ModelInput.of(reference.tokens(prompts));
                return model.model.incrementalRun(input, patch.context());
              }
            });
    if (made != null) {
      double[] masks = patch.values(model.graph).toArray();
      state.runs.add(new Run(made, model, prompts, patch.activations(), masks));
    }
  }

  /** Whatever became of the model, its activations and its prefix. */
  final void goOn(Worker worker) throws Exception {
    if (state.runs.isEmpty()) {
      return;
    }
    Run run = mostlyOpen(state.runs, each -> !each.closed);
    if (random.nextInt(4) == 0) {
      say("%s: logits of %s".formatted(worker, run));
      expect(worker, run.failure(), () -> assertRun(run, run.run::logits, run.masks));
      return;
    }
    double value = random.nextInt(3) / 2.0;
    double[] masks = run.masks.clone();
    int[] edges = random.ints(random.nextInt(4), 0, masks.length).toArray();
    for (int edge : edges) {
      masks[edge] = value;
    }
    say("%s: %s edges of %s at %s".formatted(worker, edges.length, run, value));
    run.candidate = run.run.withMasks(EdgeSet.of(run.model.graph, edges), value);
    run.pending = masks;
    expect(worker, run.failure(), () -> assertRun(run, run.candidate::logits, masks));
  }

  private Void assertRun(Run run, Supplier<Tensor> logits, double[] masks) {
    try (PointerScope scope = new PointerScope()) {
      reference.assertRun(TensorArrays.doubles(logits.get()), run, masks);
      return null;
    }
  }

  final void commitOrClose(Worker worker) throws Exception {
    if (state.runs.isEmpty()) {
      return;
    }
    Run run = mostlyOpen(state.runs, each -> !each.closed);
    if (random.nextInt(3) > 0) {
      if (run.candidate == null) {
        return;
      }
      say("%s: commit to %s".formatted(worker, run));
      expect(worker, run.failure(), run(run.candidate::commit));
      run.masks = run.pending;
      run.candidate = null;
    } else {
      say("%s: close %s".formatted(worker, run));
      expect(worker, null, run(run.run::close));
      run.closed = true;
    }
  }
}
