package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.MaskValues;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.ModelScope;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** What an {@link ApiSequence} has made, and what the contracts say about its use. */
final class ApiSequenceState {

  final List<Worker> workers = new ArrayList<>();
  final List<OwnModel> models = new ArrayList<>();
  final List<OwnMasks> masks = new ArrayList<>();
  final List<Activations> activations = new ArrayList<>();
  final List<Mode> modes = new ArrayList<>();
  final List<Recorded> recorded = new ArrayList<>();

  void add(PatchableModel made, Worker worker, double[] values) throws Exception {
    OwnModel model = new OwnModel(made, worker, values);
    models.add(model);
    masks.add(model.masks);
  }

  /** A model ends with its masks and the modes of the thread that closes it. */
  void close(OwnModel model, Worker worker) {
    model.closed = true;
    model.masks.closed = true;
    model.stack(worker).forEach(Mode::end);
  }

  /** A mode ends with those opened inside it. */
  void closeInnerAnd(Mode mode) {
    List<Mode> stack = mode.model.stack(mode.worker);
    stack.subList(stack.indexOf(mode), stack.size()).forEach(Mode::end);
  }

  /** A thread ends, and another takes its place. */
  void end(Worker worker) {
    worker.end();
    modes.stream().filter(mode -> mode.worker == worker).forEach(Mode::end);
    workers.set(workers.indexOf(worker), new Worker());
  }

  void forgetClosed() {
    models.removeIf(model -> model.closed && modes.stream().noneMatch(m -> m.model == model));
  }

  /** What is open is open, and nothing else is. */
  void check() {
    for (OwnModel model : models) {
      assertThat(model.model.isClosed()).isEqualTo(model.closed);
      long open = modes.stream().filter(mode -> mode.open && mode.model == model).count();
      assertThat(model.model.openScopes()).hasSize((int) open);
    }
    for (Mode mode : modes) {
      assertThat(mode.scope.isOpen()).as(mode.toString()).isEqualTo(mode.open);
    }
    activations.forEach(a -> assertThat(a.activations.isClosed()).isEqualTo(a.closed));
    masks.forEach(m -> assertThat(m.parameters.isClosed()).isEqualTo(m.closed));
  }

  /** A thread that makes calls. */
  static final class Worker {

    private static int made;

    private final String name = "caller " + made++;
    private Thread thread;
    private final ExecutorService executor =
        Executors.newSingleThreadExecutor(task -> thread = new Thread(task, name));

    <T> T call(Callable<T> call) throws Exception {
      try {
        return executor.submit(call).get();
      } catch (ExecutionException e) {
        if (e.getCause() instanceof RuntimeException cause) {
          throw cause;
        }
        throw e;
      }
    }

    void end() {
      executor.shutdown();
      try {
        if (thread != null) {
          thread.join();
        }
      } catch (InterruptedException e) {
        throw new AssertionError(e);
      }
    }

    @Override
    public String toString() {
      return name;
    }
  }

  /** A model with its default masks. */
  final class OwnModel {

    final PatchableModel model;
    final ModelGraph graph;
    final OwnMasks masks;
    boolean closed;

    OwnModel(PatchableModel model, Worker worker, double[] values) throws Exception {
      this.model = model;
      graph = model.graph();
      masks = new OwnMasks(worker.call(model::masks), worker, values);
    }

    Class<?> failure() {
      return closed ? IllegalStateException.class : null;
    }

    /** The open modes of a thread, outermost first. */
    List<Mode> stack(Worker worker) {
      return modes.stream().filter(m -> m.open && m.model == this && m.worker == worker).toList();
    }

    /** What the modes of a thread add up to: the innermost one of each kind. */
    Patch patchInForce(Worker worker) {
      Patch patch = Patch.NONE;
      MaskFn maskFn = MaskFn.NONE;
      for (Mode mode : stack(worker)) {
        patch = mode.patch == null ? patch : mode.patch;
        maskFn = mode.maskFn == null ? maskFn : mode.maskFn;
      }
      return new Patch(patch.activations, patch.own, patch.fixed, maskFn);
    }

    @Override
    public String toString() {
      return "model %d%s".formatted(models.indexOf(this) + 1, closed ? " (closed)" : "");
    }
  }

  /** Masks of one thread. */
  static final class OwnMasks {

    final MaskParameters parameters;
    final Worker worker;
    double[] values;
    int writes;
    boolean closed;
    boolean hasGradients;
    private final List<Mode> trainings = new ArrayList<>();
    private final List<Boolean> wantsGrad = new ArrayList<>();

    OwnMasks(MaskParameters parameters, Worker worker, double[] values) {
      this.parameters = parameters;
      this.worker = worker;
      this.values = values;
    }

    Class<?> failure(Worker caller) {
      return closed || caller != worker ? IllegalStateException.class : null;
    }

    void write(double[] newValues) {
      values = newValues;
      writes++;
    }

    void train(Mode mode, boolean gradients) {
      trainings.add(mode);
      wantsGrad.add(gradients);
      hasGradients = false;
    }

    /** What the innermost mode that trains these masks wants. */
    boolean requiresGrad() {
      for (int i = trainings.size() - 1; i >= 0; i--) {
        if (trainings.get(i).open) {
          return wantsGrad.get(i);
        }
      }
      return false;
    }

    @Override
    public String toString() {
      return "masks of %s%s".formatted(worker, closed ? " (closed)" : "");
    }
  }

  /** Activations of some of the reference's prompts. */
  static final class Activations {

    final SourceActivations activations;
    final int prompts;
    boolean closed;

    Activations(SourceActivations activations, int prompts) {
      this.activations = activations;
      this.prompts = prompts;
    }

    @Override
    public String toString() {
      return "activations %d%s".formatted(prompts, closed ? " (closed)" : "");
    }
  }

  /** A mode; with a patch or a function if its kind has one. */
  static final class Mode {

    final ModelScope scope;
    final OwnModel model;
    final Worker worker;
    private final Patch patch;
    private final MaskFn maskFn;
    boolean open = true;

    Mode(ModelScope scope, OwnModel model, Worker worker, Patch patch, MaskFn maskFn) {
      this.scope = scope;
      this.model = model;
      this.worker = worker;
      this.patch = patch;
      this.maskFn = maskFn;
    }

    void end() {
      open = false;
    }

    @Override
    public String toString() {
      String kind = patch != null ? "patchMode" : maskFn != null ? "maskFnMode" : "trainMaskMode";
      return "%s of %s on %s%s".formatted(kind, model, worker, open ? "" : " (closed)");
    }
  }

  /** What a pass is patched with: masks of a thread or fixed ones; neither where it is not. */
  record Patch(Activations activations, OwnMasks own, Masks fixed, MaskFn maskFn) {

    static final Patch NONE = new Patch(null, null, null, MaskFn.NONE);

    Class<?> failure(OwnModel model, Worker worker) {
      boolean refused =
          model.closed
              || (activations != null && activations.closed)
              || (own != null && own.failure(worker) != null);
      return refused ? IllegalStateException.class : null;
    }

    boolean isRecorded() {
      return own != null && own.requiresGrad();
    }

    MaskValues maskValues() {
      return own != null ? own.parameters : fixed;
    }

    double[] values() {
      return own != null ? own.values : fixed.toArray();
    }

    PatchContext context() {
      return activations == null
          ? PatchContext.NONE
          : PatchContext.builder(activations.activations, maskValues()).maskFn(maskFn).build();
    }

    @Override
    public String toString() {
      return activations == null
          ? "no patch"
          : "%s, %s, %s".formatted(activations, own != null ? own : fixed, maskFn);
    }
  }

  /** Logits that can go backward to masks. */
  record Recorded(Tensor logits, OwnMasks masks, int writes) {

    /** Keeps the logits when the innermost scope ends. */
    static Recorded keeping(Tensor logits, OwnMasks masks) {
      logits.retainReference();
      return new Recorded(logits, masks, masks.writes);
    }

    boolean isStale() {
      return writes != masks.writes;
    }

    void backward() {
      try (PointerScope scope = new PointerScope()) {
        logits.sum().backward();
      } finally {
        drop();
      }
    }

    void drop() {
      logits.releaseReference();
    }
  }
}
