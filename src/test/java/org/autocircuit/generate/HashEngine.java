package org.autocircuit.generate;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import org.autocircuit.TestModels;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.SplitMix64;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.SourceActivations;

/**
 * Stands for a model whose state at a position is a number, which mixes the one before with the
 * token and all that patches it there; logits are drawn from it. It holds what calls it to the
 * contract, and does as it is told before each step: fail, or take its time.
 */
final class HashEngine implements StepEngine {

  static final TransformerConfig CONFIG = TestModels.CONFIG.toBuilder().nCtx(64).build();
  static final ModelGraph GRAPH = ModelGraph.of(CONFIG, true, true);
  static final int VOCABULARY = CONFIG.dVocab();
  static final String STREAM = "blocks.1.hook_resid_post";

  /** Blocks of a pass, between which it may be stopped. */
  private static final int BLOCKS = 2;

  /** Runs before each step; may throw. */
  volatile Consumer<List<Chunk>> before = chunks -> {};

  /** Runs before each fork; may throw. */
  volatile Runnable beforeFork = () -> {};

  /** Sequences that were forked. */
  final AtomicInteger forks = new AtomicInteger();

  /** The time that each block takes. */
  volatile long blockMillis;

  private final Set<Handle> open = ConcurrentHashMap.newKeySet();
  private final AtomicLong tokensRun = new AtomicLong();
  private volatile boolean stopped;
  private volatile boolean closed;
  private Thread owner;

  /** Something that may be closed several times. */
  private class Closeable implements Handle {
    final long value;

    Closeable(long value) {
      this.value = value;
      open.add(this);
    }

    @Override
    public void close() {
      mine();
      open.remove(this);
    }
  }

  private final class Sequence extends Closeable {
    private final int capacity;
    private final boolean patched;
    private final List<Long> states = new ArrayList<>();

    Sequence(int capacity, boolean patched) {
      super(0);
      this.capacity = capacity;
      this.patched = patched;
    }
  }

  static RequestChecks checks() {
    return new RequestChecks(GRAPH, CONFIG, Set.of(STREAM, "blocks.0.hook_attn_out"));
  }

  /** The state at a position. */
  static long state(long before, int token, long patch, Map<String, float[]> added) {
    long sum = before * 31 + token;
    sum = SplitMix64.mix(sum + 0x9e3779b97f4a7c15L) + 31 * patch;
    for (Map.Entry<String, float[]> each : added.entrySet()) {
      sum += each.getKey().hashCode() * 7L + Arrays.hashCode(each.getValue());
    }
    return SplitMix64.mix(sum);
  }

  /** Mixes masks into something that patches: nothing of it is lost. */
  static long patch(long masks, long other) {
    return SplitMix64.mix(masks * 17 + other + 1);
  }

  static long masks(Masks masks, MaskFn maskFn, long seed) {
    return Arrays.hashCode(masks.toArray()) * 3L
        + maskFn.name().length()
        + (maskFn == MaskFn.HARD_CONCRETE ? SplitMix64.mix(seed) : 0);
  }

  static double logit(long state, int id) {
    return 8 * ((SplitMix64.mix(state + id) >>> 11) * 0x1p-53);
  }

  static double[] logits(long state) {
    double[] logits = new double[VOCABULARY];
    Arrays.setAll(logits, id -> logit(state, id));
    return logits;
  }

  static float read(long state) {
    return (float) (SplitMix64.mix(state ^ 5) >>> 40);
  }

  int openHandles() {
    return open.size();
  }

  /** All tokens of steps that were not stopped and did not fail. */
  long tokensRun() {
    return tokensRun.get();
  }

  boolean isClosed() {
    return closed;
  }

  private synchronized void mine() {
    owner = owner == null ? Thread.currentThread() : owner;
    require(owner == Thread.currentThread(), "one thread");
  }

  private static void require(boolean holds, String what) {
    if (!holds) {
      throw new AssertionError("broken contract: " + what);
    }
  }

  @Override
  public void check(SourceActivations activations, Masks masks) {}

  @Override
  public Handle newSequence(int capacity, boolean patched) {
    mine();
    return new Sequence(capacity, patched);
  }

  @Override
  public Handle fork(Handle sequence, int length, int capacity) {
    mine();
    beforeFork.run();
    Sequence from = (Sequence) sequence;
    require(open.contains(from) && length <= from.states.size(), "so many states");
    Sequence fork = new Sequence(capacity, from.patched);
    fork.states.addAll(from.states.subList(0, length));
    forks.incrementAndGet();
    return fork;
  }

  @Override
  public long sequenceBytes(int capacity, boolean patched) {
    return 100L * capacity * (patched ? 2 : 1);
  }

  @Override
  public long maskBytes(Masks masks) {
    return 10;
  }

  @Override
  public Handle newMasks(Masks masks, MaskFn maskFn, long seed) {
    mine();
    return new Closeable(masks(masks, maskFn, seed));
  }

  @Override
  public Handle newConstant(GenerationPatch.Source source, int position) {
    mine();
    return new Closeable(position);
  }

  @Override
  public long passBytesPerToken(boolean patched) {
    return patched ? 10 : 5;
  }

  @Override
  public Output step(List<Chunk> chunks, List<String> reads) {
    mine();
    require(!closed && !chunks.isEmpty(), "an open engine and something to do");
    before.accept(chunks);
    IdentityHashMap<Sequence, List<Long>> grown = new IdentityHashMap<>();
    List<Long> logitStates = new ArrayList<>();
    List<Long> readStates = new ArrayList<>();
    long tokens = 0;
    for (Chunk chunk : chunks) {
      Sequence sequence = (Sequence) chunk.sequence();
      require(open.contains(sequence) && !grown.containsKey(sequence), "an open sequence, once");
      require(chunk.position() == sequence.states.size(), "the sequence's end");
      require(chunk.position() + chunk.tokens().length <= sequence.capacity, "room");
      require(chunk.tokens().length > 0, "tokens");
      grown.put(sequence, states(chunk, sequence, chunks, grown));
      tokens += chunk.tokens().length;
      long last = grown.get(sequence).get(chunk.tokens().length - 1);
      if (chunk.wantsLogits()) {
        logitStates.add(last);
      }
      if (chunk.wantsReads()) {
        readStates.add(last);
      }
    }
    for (int block = 0; block < BLOCKS; block++) {
      if (stopped) {
        return null;
      }
      pause();
    }
    grown.forEach((sequence, states) -> sequence.states.addAll(states));
    tokensRun.addAndGet(tokens);
    return new Result(logitStates, readStates);
  }

  private List<Long> states(
      Chunk chunk, Sequence sequence, List<Chunk> chunks, Map<Sequence, List<Long>> grown) {
    boolean patched = chunk.masks() != null;
    require(!patched || sequence.patched, "a sequence that may be patched");
    require(patched == (chunk.donor() >= 0 || chunk.constant() != null), "what patches");
    List<Long> donors = null;
    if (chunk.donor() >= 0) {
      Chunk donor = chunks.get(chunk.donor());
      require(donor.masks() == null && donor.position() == chunk.position(), "a plain donor here");
      require(donor.tokens().length == chunk.tokens().length, "as many tokens");
      donors = grown.get((Sequence) donor.sequence());
    }
    List<Long> states = new ArrayList<>();
    long state = sequence.states.isEmpty() ? 0 : sequence.states.get(sequence.states.size() - 1);
    for (int i = 0; i < chunk.tokens().length; i++) {
      long patch = 0;
      if (patched) {
        require(open.contains(chunk.masks()), "open masks");
        long other = donors == null ? ((Closeable) chunk.constant()).value : donors.get(i);
        patch = patch(((Closeable) chunk.masks()).value, other);
      }
      state = state(state, chunk.tokens()[i], patch, new LinkedHashMap<>(chunk.added()));
      states.add(state);
    }
    return states;
  }

  private void pause() {
    if (blockMillis > 0) {
      try {
        Thread.sleep(blockMillis);
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
    }
  }

  private record Result(List<Long> logitStates, List<Long> readStates) implements Output {

    @Override
    public void logits(int row, double[] into) {
      System.arraycopy(HashEngine.logits(logitStates.get(row)), 0, into, 0, into.length);
    }

    @Override
    public double logit(int row, int id) {
      return HashEngine.logit(logitStates.get(row), id);
    }

    @Override
    public float[] read(int row, int hook) {
      return new float[] {HashEngine.read(readStates.get(row)), hook};
    }

    @Override
    public void close() {}
  }

  @Override
  public void stop(boolean value) {
    stopped = value;
  }

  @Override
  public void close() {
    mine();
    closed = true;
  }
}
