package org.autocircuit.generate;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.Executor;
import java.util.concurrent.ForkJoinPool;
import org.autocircuit.PatchableModel;
import org.autocircuit.exception.DoesNotFitException;
import org.autocircuit.exception.QueueFullException;
import org.autocircuit.internal.Numbers;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.tokenizer.Tokenizer;

/**
 * Answers prompts token by token, many at once, each with a circuit, an ablation and steering of
 * its own. What a request gets does not depend on the others: in 32 bits on the CPU its logits have
 * the same bits at any load, and so its tokens are the same.
 *
 * <pre>{@code
 * try (Generator generator = Generator.builder(model).stopTokens(config.eosTokenIds()).build();
 *     Generation generation =
 *         generator.submit(
 *             GenerationRequest.of(tokens)
 *                 .withPatch(GenerationPatch.resample(corruptTokens, masks, Donor.FOLLOWS))
 *                 .withStop(Stop.after(200)))) {
 *   for (GeneratedToken token : generation) {
 *     …
 *   }
 * }
 * }</pre>
 *
 * <p><b>Threads.</b> One thread of its own does all that is native; any threads may submit, read
 * and cancel, virtual ones too. Requests begin in the order in which they came, as soon as all the
 * memory that they can ever need is free; it is set aside then, so nothing that runs is ever put
 * off again. Requests that run share each pass; prompts are read in parts, so that a long one holds
 * up nobody.
 *
 * <p><b>Failures.</b> If a pass fails, its requests run once more one by one, and the one that
 * fails again ends with {@link FinishReason#ERROR}, as does one whose sampler or guard fails; the
 * others go on as if nothing had happened.
 *
 * <p><b>Ownership.</b> Close it: {@link #close} ends all requests and waits for its thread. The
 * model, the tokenizer and the listener stay the caller's; a model that is closed before makes all
 * requests fail.
 */
public final class Generator implements AutoCloseable {

  /** Settings that stay while it runs. */
  record Settings(
      RequestChecks checks,
      long kvBytes,
      long passBytes,
      int chunkTokens,
      int maxActive,
      Set<Integer> endTokens,
      Tokenizer tokenizer) {

    GenerationPlan plan(StepEngine engine, GenerationRequest request) {
      int capacity = checks.capacity(request);
      boolean patched = !request.patch().phases(request.promptLength()).isEmpty();
      boolean hasDonor =
          patched && request.patch().source() instanceof GenerationPatch.Source.Resample;
      long own = engine.sequenceBytes(capacity, patched);
      long donors = hasDonor ? engine.sequenceBytes(capacity, false) : 0;
      long masks =
          request.patch().phases(request.promptLength()).stream()
              .mapToLong(phase -> engine.maskBytes(phase.masks()))
              .sum();
      return new GenerationPlan(own + donors, masks, donors);
    }

    /** Looks for texts that end the answer; {@code null} if no text does. */
    TextStream textStream(GenerationRequest request) {
      if (request.stop().texts().isEmpty()) {
        return null;
      }
      long[] prompt = Arrays.stream(request.prompt()).asLongStream().toArray();
      return TextStream.after(tokenizer, prompt, request.stop().texts());
    }
  }

  private final StepEngine engine;
  private final Settings settings;
  private final Generation.Keeper keeper;
  private final RequestQueue queue;
  private final Counters counters;
  private final StepLoop loop;
  private final Thread thread;

  private Generator(Builder builder, StepEngine engine, Settings settings) {
    this.engine = engine;
    this.settings = settings;
    keeper = keeper(builder.executor);
    queue = new RequestQueue(builder.queue);
    counters = new Counters(String.valueOf(builder.model), builder.listeners);
    loop = new StepLoop(engine, queue, counters, settings);
    thread = new Thread(loop, "autocircuit-generator");
    thread.setDaemon(true);
  }

  /** Begins a generator of a model, which stays the caller's. */
  public static Builder builder(PatchableModel model) {
    return new Builder(Objects.requireNonNull(model, "model"));
  }

  /**
   * Puts a request into the queue.
   *
   * @return to be closed by the caller, which cancels it if it has not ended
   * @throws IllegalArgumentException if it does not fit the model, or something of it cannot be
   *     generated; says why
   * @throws DoesNotFitException if it needs more memory than there will ever be
   * @throws QueueFullException if as many requests wait as may
   * @throws IllegalStateException if this is closed
   */
  public Generation submit(GenerationRequest request) {
    return submit(request, 1).get(0);
  }

  /**
   * Puts a request into the queue that gets several answers. Its prompt is read once for all that
   * run together. The i-th of them has the bits of a request with the seed of this one's sampling
   * plus i, counted from 0.
   *
   * @param answers at most as many as may wait; all are taken or none
   * @return each to be closed by the caller, which cancels it if it has not ended
   * @throws IllegalArgumentException as {@link #submit(GenerationRequest)}, or if more answers are
   *     asked for than may ever wait
   * @throws DoesNotFitException if one of them needs more memory than there will ever be
   * @throws QueueFullException if there are not so many places
   * @throws IllegalStateException if this is closed
   */
  public List<Generation> submit(GenerationRequest request, int answers) {
    GenerationPlan plan = plan(request);
    if (answers < 1 || answers > queue.limit()) {
      throw new IllegalArgumentException(
          "answers: expected 1 to %s, as many as may wait, got %s"
              .formatted(queue.limit(), answers));
    }
    if (plan.bytes() > settings.kvBytes()) {
      throw refused(
          request,
          new DoesNotFitException(
              "request: needs %s bytes for keys, values and masks, and there are %s for all"
                      .formatted(plan.bytes(), settings.kvBytes())
                  + " together"));
    }
    List<Generation> generations = new ArrayList<>();
    generations.add(new Generation(request, plan, keeper, null, List.of()));
    for (int i = 1; i < answers; i++) {
      generations.add(
          new Generation(request.another(i), plan, keeper, generations.get(0), List.of()));
    }
    keeper.submit(generations);
    return generations;
  }

  private <E extends RuntimeException> E refused(GenerationRequest request, E reason) {
    counters.refused(request, reason);
    return reason;
  }

  private void enqueue(List<Generation> generations) {
    try {
      queue.reserve(generations.size());
    } catch (QueueFullException e) {
      throw refused(generations.get(0).request(), e);
    }
    generations.forEach(each -> counters.tell(to -> to.submitted(each)));
    try {
      queue.add(generations);
    } catch (IllegalStateException e) {
      generations.forEach(each -> counters.end(each, FinishReason.CANCELLED, null));
      throw e;
    }
  }

  /**
   * Returns the memory that a request needs. Nothing is run.
   *
   * @throws IllegalArgumentException as {@link #submit}
   */
  public GenerationPlan plan(GenerationRequest request) {
    settings.checks().check(request, settings.tokenizer() != null);
    request.patch().checkSource(engine);
    return settings.plan(engine, request);
  }

  /** Returns what it is at and has done. */
  public GeneratorState state() {
    return counters.state(queue.size(), loop.running(), loop.reserved(), settings.kvBytes());
  }

  private Generation.Keeper keeper(Executor executor) {
    return new Generation.Keeper() {
      @Override
      public Executor executor() {
        return executor;
      }

      @Override
      public void cancel(Generation generation) {
        Generator.this.cancel(generation);
      }

      @Override
      public void caughtUp() {
        queue.wake();
      }

      @Override
      public void submit(List<Generation> generations) {
        enqueue(generations);
      }
    };
  }

  private void cancel(Generation generation) {
    if (queue.remove(generation)) {
      counters.end(generation, FinishReason.CANCELLED, null);
    } else if (generation.finishReason().isEmpty()) {
      loop.cancelled();
    }
  }

  /**
   * Ends all requests with {@link FinishReason#CANCELLED}, stops the pass that runs between two of
   * its blocks, and waits until its memory is free. Does nothing the second time.
   */
  @Override
  public void close() {
    loop.close();
    boolean interrupted = false;
    while (thread.isAlive() && Thread.currentThread() != thread) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** Collects the settings of a generator. Not safe for use by several threads. */
  public static final class Builder {

    private final PatchableModel model;
    private long kvBytes = 1L << 30;
    private long passBytes = 512L << 20;
    private int chunkTokens = 256;
    private int maxActive = 32;
    private int queue = 64;
    private final Set<Integer> endTokens = new HashSet<>();
    private Tokenizer tokenizer;
    private final List<GenerationListener> listeners = new ArrayList<>();
    private Executor executor = ForkJoinPool.commonPool();

    Builder(PatchableModel model) {
      this.model = model;
    }

    /** Sets the most bytes of keys, values and masks of all requests that run; 1 GiB at first. */
    public Builder kvBytes(long value) {
      kvBytes = Numbers.atLeast(1, "kvBytes", value);
      return this;
    }

    /**
     * Sets about how many bytes one pass may take, which bounds the tokens that it reads; 512 MiB
     * at first.
     */
    public Builder passBytes(long value) {
      passBytes = Numbers.atLeast(1, "passBytes", value);
      return this;
    }

    /** Sets the most tokens of one prompt in a pass; 256 at first. */
    public Builder chunkTokens(int value) {
      chunkTokens = Numbers.atLeast(1, "chunkTokens", value);
      return this;
    }

    /** Sets the most requests that run at once; 32 at first. */
    public Builder maxActive(int value) {
      maxActive = Numbers.atLeast(1, "maxActive", value);
      return this;
    }

    /** Sets the most requests that wait; 64 at first. */
    public Builder queue(int value) {
      queue = Numbers.atLeast(1, "queue", value);
      return this;
    }

    /** Sets the tokens that end all answers, for instance a model's {@code eosTokenIds()}. */
    public Builder stopTokens(Collection<Integer> ids) {
      endTokens.clear();
      endTokens.addAll(ids);
      return this;
    }

    /** Sets what makes text of tokens, for requests that end at texts; stays the caller's. */
    public Builder tokenizer(Tokenizer value) {
      tokenizer = Objects.requireNonNull(value, "tokenizer");
      return this;
    }

    /** Adds one who is told what happens, after those that were added before. */
    public Builder listener(GenerationListener value) {
      listeners.add(Objects.requireNonNull(value, "listener"));
      return this;
    }

    /**
     * Sets what runs the code of those who wait for results and subscribe to tokens; the common
     * pool at first.
     */
    public Builder executor(Executor value) {
      executor = Objects.requireNonNull(value, "executor");
      return this;
    }

    /**
     * Starts the generator.
     *
     * @throws IllegalArgumentException if the model takes no tokens, has a prefix or latents of
     *     positions, or lacks a stop token, or {@code passBytes} does not do for one token
     * @throws IllegalStateException if the model is closed
     */
    public Generator build() {
      NativeStepEngine engine = NativeStepEngine.of(model);
      return build(
          engine,
          new RequestChecks(
              model.graph(),
              (TransformerConfig) model.config(),
              new LinkedHashSet<>(model.hookNames())));
    }

    /** Starts a generator on an engine, which it takes over. */
    Generator build(StepEngine engine, RequestChecks checks) {
      try {
        check(engine, checks);
      } catch (IllegalArgumentException e) {
        engine.close();
        throw e;
      }
      Settings settings =
          new Settings(
              checks, kvBytes, passBytes, chunkTokens, maxActive, Set.copyOf(endTokens), tokenizer);
      Generator generator = new Generator(this, engine, settings);
      generator.thread.start();
      return generator;
    }

    private void check(StepEngine engine, RequestChecks checks) {
      checks.stopTokens(endTokens);
      long least = engine.passBytesPerToken(true) + engine.passBytesPerToken(false);
      if (passBytes < least) {
        throw new IllegalArgumentException(
            "passBytes: expected at least %s, for one patched token and its donor, got %s"
                .formatted(least, passBytes));
      }
    }
  }
}
