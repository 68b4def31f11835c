package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.mode.ModelScope;
import org.autocircuit.pass.IncrementalRun;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** Says what an {@link ApiSequence} has made, and what the contracts say about its use. */
final class ApiSequenceState {

  final List<Worker> workers = new ArrayList<>();
  final List<OwnModel> models = new ArrayList<>();
  final List<ApiSequenceMasks> masks = new ArrayList<>();
  final List<Activations> activations = new ArrayList<>();
  final List<Mode> modes = new ArrayList<>();
  final List<Recorded> recorded = new ArrayList<>();
  final List<Prefix> prefixes = new ArrayList<>();
  final List<Run> runs = new ArrayList<>();

  void add(PatchableModel made, Prefix prefix, Worker worker, double[] values) throws Exception {
    OwnModel model = new OwnModel(made, prefix, worker, values);
    models.add(model);
    masks.add(model.masks);
  }

  /** A model ends with its masks and the modes of the thread that closes it. */
  void close(OwnModel model, Worker worker) {
    model.closed = true;
    model.masks.closed = true;
    endInnermostFirst(model.stack(worker));
  }

  /** A mode ends with those opened inside it. */
  void closeInnerAnd(Mode mode) {
    List<Mode> stack = mode.model.stack(mode.worker);
    endInnermostFirst(stack.subList(stack.indexOf(mode), stack.size()));
  }

  private static void endInnermostFirst(List<Mode> stack) {
    for (int i = stack.size() - 1; i >= 0; i--) {
      stack.get(i).end();
    }
  }

  /** A thread ends, and another takes its place. */
  void end(Worker worker) {
    worker.end();
    endInnermostFirst(modes.stream().filter(mode -> mode.worker == worker).toList());
    workers.set(workers.indexOf(worker), new Worker());
  }

  void forgetClosed() {
    models.removeIf(model -> model.closed && modes.stream().noneMatch(m -> m.model == model));
  }

  /** Checks that just those things are open that should be. */
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
    prefixes.forEach(p -> assertThat(p.cache.isClosed()).isEqualTo(p.closed));
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
    final ApiSequenceMasks masks;
    private final Prefix prefix;
    boolean closed;

    OwnModel(PatchableModel model, Prefix prefix, Worker worker, double[] values) throws Exception {
      this.model = model;
      this.prefix = prefix;
      graph = model.graph();
      masks = new ApiSequenceMasks(worker.call(model::masks), worker, values);
    }

    Class<?> failure() {
      return closed ? IllegalStateException.class : null;
    }

    /** Returns what is wrong with a pass without masks. */
    Class<?> passFailure() {
      return closed || prefixIsClosed() ? IllegalStateException.class : null;
    }

    boolean hasPrefix() {
      return prefix != null;
    }

    boolean prefixIsClosed() {
      return hasPrefix() && prefix.closed;
    }

    /** The tokens before all prompts, by {@link ApiSequenceReference}'s numbers. */
    List<Integer> prefixTokens() {
      return hasPrefix() ? prefix.tokens : List.of();
    }

    /** The open modes of a thread, outermost first. */
    List<Mode> stack(Worker worker) {
      return modes.stream().filter(m -> m.open && m.model == this && m.worker == worker).toList();
    }

    /** Returns what the modes of a thread add up to: the innermost one of each kind. */
    ApiSequencePatch patchInForce(Worker worker) {
      ApiSequencePatch patch = ApiSequencePatch.NONE;
      MaskFn maskFn = MaskFn.NONE;
      for (Mode mode : stack(worker)) {
        patch = mode.patch == null ? patch : mode.patch;
        maskFn = mode.maskFn == null ? maskFn : mode.maskFn;
      }
      return new ApiSequencePatch(patch.activations(), patch.own(), patch.fixed(), maskFn);
    }

    @Override
    public String toString() {
      String after = hasPrefix() ? " after " + prefix : "";
      return "model %s%s%s".formatted(models.indexOf(this) + 1, after, closed ? " (closed)" : "");
    }
  }

  /** Keys and values of some of the reference's prefixes. */
  static final class Prefix {

    final PrefixCache cache;
    final List<Integer> tokens;
    boolean closed;

    Prefix(PrefixCache cache, List<Integer> tokens) {
      this.cache = cache;
      this.tokens = tokens;
    }

    @Override
    public String toString() {
      return "prefix %s%s".formatted(tokens, closed ? " (closed)" : "");
    }
  }

  /** A baseline, its masks, and those of the last other run. */
  static final class Run {

    final IncrementalRun run;
    IncrementalRun.Candidate candidate;
    final OwnModel model;
    final int prompts;
    final Activations activations;
    double[] masks;
    double[] pending;
    boolean closed;

    Run(IncrementalRun run, OwnModel model, int prompts, Activations activations, double[] masks) {
      this.run = run;
      this.model = model;
      this.prompts = prompts;
      this.activations = activations;
      this.masks = masks;
      this.pending = masks;
    }

    Class<?> failure() {
      return closed ? IllegalStateException.class : null;
    }

    @Override
    public String toString() {
      return "run of %s%s".formatted(model, closed ? " (closed)" : "");
    }
  }

  /** Activations of some of the reference's prompts, after some of its prefixes. */
  static final class Activations {

    final SourceActivations activations;
    final int prompts;
    final List<Integer> prefixTokens;
    boolean closed;

    Activations(SourceActivations activations, int prompts, List<Integer> prefixTokens) {
      this.activations = activations;
      this.prompts = prompts;
      this.prefixTokens = prefixTokens;
    }

    @Override
    public String toString() {
      return "activations %s %s%s".formatted(prompts, prefixTokens, closed ? " (closed)" : "");
    }
  }

  /** A mode; with a patch, a function, or masks that it changes if its kind has them. */
  static final class Mode {

    final ModelScope scope;
    final OwnModel model;
    final Worker worker;
    private final ApiSequencePatch patch;
    private final MaskFn maskFn;
    private final ApiSequenceMasks masks;
    boolean open = true;

    Mode(
        ModelScope scope,
        OwnModel model,
        Worker worker,
        ApiSequencePatch patch,
        MaskFn maskFn,
        ApiSequenceMasks masks) {
      this.scope = scope;
      this.model = model;
      this.worker = worker;
      this.patch = patch;
      this.maskFn = maskFn;
      this.masks = masks;
    }

    void end() {
      if (open && masks != null) {
        masks.end(this);
      }
      open = false;
    }

    @Override
    public String toString() {
      String kind = scope.getClass().getSimpleName();
      return "%s of %s on %s%s".formatted(kind, model, worker, open ? "" : " (closed)");
    }
  }

  /** Logits that can go backward to masks. */
  record Recorded(Tensor logits, ApiSequenceMasks masks, ApiSequenceMasks.Layer layer, int writes) {

    /** Keeps the logits when the innermost scope ends. */
    static Recorded keeping(Tensor logits, ApiSequenceMasks masks) {
      logits.retainReference();
      return new Recorded(logits, masks, masks.current(), masks.current().writes());
    }

    boolean isStale() {
      return writes != layer.writes();
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
