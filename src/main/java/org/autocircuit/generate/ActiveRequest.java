package org.autocircuit.generate;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.autocircuit.exception.NotFiniteException;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;

/** A request that runs: its sequences, what patches them, and how far it has come. */
final class ActiveRequest implements AutoCloseable {

  private final Generation generation;
  private final GenerationRequest request;
  private final int capacity;
  private final Set<Integer> endTokens;
  private final TextStream text;
  private final TokenSampler sampler;
  private final List<GenerationPatch.Phase> phases;
  private final int[] prompt;

  /** Native things, the last one made first. */
  private final Deque<StepEngine.Handle> handles = new ArrayDeque<>();

  private final Map<Masks, StepEngine.Handle> masks = new HashMap<>();

  /** The requests that run. */
  private final List<ActiveRequest> running;

  /** The answer with whose keys and values this begins; {@code null} once it has begun. */
  private ActiveRequest parent;

  private FinishReason over;
  private boolean closed;
  private StepEngine.Handle sequence;
  private StepEngine.Handle constant;
  private StepEngine.Handle beyond;
  private int heldFrom = Integer.MAX_VALUE;

  /** Prompt and answer, of which {@link #known} are known and {@link #position} are computed. */
  private int[] tokens;

  private int known;
  private int position;
  private int chunk;

  /** {@code null}: none. */
  private DonorTrack donor;

  private int logitRow;
  private int readRow;

  /** Begins to run; what was made is freed if something fails. */
  ActiveRequest(
      Generation generation,
      int capacity,
      Set<Integer> endTokens,
      TextStream text,
      StepEngine engine,
      List<ActiveRequest> running) {
    this.generation = generation;
    this.request = generation.request();
    this.capacity = capacity;
    this.endTokens = endTokens;
    this.text = text;
    this.running = running;
    prompt = request.prompt();
    tokens = prompt.clone();
    known = prompt.length;
    phases = request.patch().phases(prompt.length);
    parent = parent();
    boolean made = false;
    try {
      sampler = request.newSampler();
      make(engine);
      generation.given().forEach(this::repeat);
      if (parent == null) {
        begin(engine);
      }
      made = true;
    } finally {
      if (!made) {
        close();
      }
    }
  }

  /** The one whose first tokens' keys and values are those of this one, if it runs. */
  private ActiveRequest parent() {
    Generation of = generation.takeParent();
    if (request.patch().maskFn() == MaskFn.HARD_CONCRETE) {
      return null; // each draws masks of its own
    }
    return running.stream().filter(each -> each.generation == of).findFirst().orElse(null);
  }

  private void make(StepEngine engine) {
    for (GenerationPatch.Phase phase : phases) {
      if (!masks.containsKey(phase.masks())) {
        masks.put(
            phase.masks(),
            kept(
                engine.newMasks(
                    phase.masks(), request.patch().maskFn(), request.sampling().seed())));
      }
    }
    GenerationPatch.Source source = request.patch().source();
    if (phases.isEmpty()) {
      return;
    }
    if (source instanceof GenerationPatch.Source.Resample resample) {
      donor =
          new DonorTrack(
              resample.corrupt().clone(),
              phases.get(phases.size() - 1).end(),
              capacity,
              resample.donor() == Donor.FREE ? request.newSampler() : null);
    } else if (source instanceof GenerationPatch.Source.Positions positions) {
      constant = kept(engine.newConstant(source, -1));
      if (positions.beyond() == Beyond.HOLD_LAST) {
        heldFrom = positions.length();
        beyond = kept(engine.newConstant(source, heldFrom - 1));
      }
    } else {
      constant = kept(engine.newConstant(source, 0));
    }
  }

  /** Takes a token that another answer has had. */
  private void repeat(TokenLog.Entry given) {
    append(given.token().id(), given.donor());
    over = ending(given.token().id());
  }

  private void append(int id, int donorId) {
    tokens = grown(tokens, known);
    tokens[known] = id;
    if (donor != null) {
      donor.append(known, donorId);
    }
    known++;
  }

  /** Readies it for its first step, if it waited for another answer. */
  void prepare(StepEngine engine) {
    if (parent != null) {
      begin(engine);
    }
  }

  /** Goes on from where its parent is, or begins at its first token. */
  private void begin(StepEngine engine) {
    int shared = known - 1;
    boolean needsDonor = donor != null && donor.isNeededAt(shared);
    ActiveRequest from = parent;
    parent = null;
    if (from != null && from.canShare(shared, needsDonor)) {
      sequence = kept(engine.fork(from.sequence, shared, capacity));
      position = shared;
      if (needsDonor) {
        donor.share(from.donor);
      }
      return;
    }
    sequence = kept(engine.newSequence(capacity, !phases.isEmpty()));
    if (donor != null) {
      donor.begin(engine, running.stream().map(each -> each.donor).filter(Objects::nonNull));
    }
  }

  private boolean canShare(int length, boolean withDonor) {
    return !closed && sequence != null && position >= length && (!withDonor || donor.isRunning());
  }

  private StepEngine.Handle kept(StepEngine.Handle handle) {
    handles.push(handle);
    return handle;
  }

  Generation generation() {
    return generation;
  }

  /** Returns whether it may take part in the next step. */
  boolean isReady() {
    boolean waits =
        parent != null
            && !parent.closed
            && !parent.generation.isResting()
            && parent.position < known - 1;
    return !waits && !generation.isResting();
  }

  /** Why it has ended before it began; {@code null}: it has not. */
  FinishReason isOver() {
    return over;
  }

  /** Returns whether the next step gives it a token, not a part of its prompt only. */
  boolean isDecoding() {
    return position >= prompt.length;
  }

  /** The number of tokens of the answer so far. */
  int answered() {
    return known - prompt.length;
  }

  /** The bytes that a step takes for each token of it. */
  long passBytesPerToken(StepEngine engine) {
    return engine.passBytesPerToken(!phases.isEmpty())
        + (donor == null || !donor.isNeededAt(position) ? 0 : engine.passBytesPerToken(false));
  }

  /** The tokens that it put into a step last. */
  int inDraft() {
    return chunk;
  }

  /** Puts its next tokens into a step, at most so many. */
  void addTo(StepDraft draft, int most, StepEngine engine) {
    boolean hasDonor = donor != null && donor.isNeededAt(position);
    if (donor != null && !hasDonor) {
      donor.release();
    }
    chunk = Math.min(Math.min(most, known - position), nextChange() - position);
    boolean decodes = isDecoding();
    int donorChunk = -1;
    if (hasDonor) {
      StepDraft.DonorChunk added = donor.addTo(draft, engine, position, chunk, known, decodes);
      donorChunk = added.index();
      chunk = added.chunk().tokens().length;
    }
    boolean last = position + chunk == known;
    GenerationPatch.Phase phase = phase();
    List<String> hooks = request.hooks();
    draft.add(
        new StepEngine.Chunk(
            sequence,
            position,
            Arrays.copyOfRange(tokens, position, position + chunk),
            last,
            last && !hooks.isEmpty(),
            phase == null ? null : masks.get(phase.masks()),
            phase == null ? -1 : donorChunk,
            phase == null || donor != null ? null : position >= heldFrom ? beyond : constant,
            added()));
    logitRow = draft.logitRow();
    readRow = draft.readRow();
    if (last) {
      draft.read(hooks);
    }
    draft.addRow(this, chunk, decodes);
  }

  /** The masks at the next position; {@code null}: none. */
  private GenerationPatch.Phase phase() {
    for (GenerationPatch.Phase phase : phases) {
      if (position >= phase.begin() && position < phase.end()) {
        return phase;
      }
    }
    return null;
  }

  /** The next position from which on a token is patched or steered in another way. */
  private int nextChange() {
    int next = position < heldFrom ? heldFrom : Integer.MAX_VALUE;
    for (GenerationPatch.Phase phase : phases) {
      next = sooner(next, phase.begin());
      next = sooner(next, phase.end());
    }
    for (Steering steering : request.steering()) {
      next = sooner(next, steering.span().begin(prompt.length));
      next = sooner(next, steering.span().end(prompt.length));
    }
    return next;
  }

  private int sooner(int next, int change) {
    return change > position ? Math.min(next, change) : next;
  }

  private Map<String, float[]> added() {
    Map<String, float[]> added = new LinkedHashMap<>();
    for (Steering steering : request.steering()) {
      if (steering.span().contains(position, prompt.length)) {
        steering.addTo(
            added.computeIfAbsent(steering.hookName(), hook -> new float[steering.size()]));
      }
    }
    return added;
  }

  /**
   * Takes what came of the step, and gives out a token if there is one.
   *
   * @param logits a place for {@code [d_vocab]} values
   * @param counted runs before anybody can see the token
   * @return why the answer ends here; {@code null}: it goes on
   */
  FinishReason take(
      StepEngine.Output output,
      StepDraft draft,
      double[] logits,
      Exponentials exp,
      Runnable counted) {
    position += chunk;
    if (donor != null && donor.isRunning()) {
      donor.grownTo(position);
    }
    if (position < known) {
      return null;
    }
    int step = known - prompt.length;
    Map<String, float[]> reads = reads(output, draft.reads());
    if (request.isEnded(reads)) {
      return FinishReason.GUARD;
    }
    output.logits(logitRow, logits);
    double max = logits[Exponentials.argMax(logits)];
    double logSum = max + exp.logSum(logits, max);
    if (!Double.isFinite(logSum)) {
      throw new NotFiniteException("logits are not finite");
    }
    List<TokenLogProb> best = TokenLogProb.best(logits, request.logProbs(), logSum);
    int id = checked(sampler.next(logits, step), logits.length);
    double logProb = output.logit(logitRow, id) - logSum;
    int donorId = donor == null ? id : donor.next(output, logits, position, step, id);
    checked(donorId, logits.length);
    counted.run();
    generation.add(
        new TokenLog.Entry(new GeneratedToken(id, logProb, known), reads, best, donorId));
    append(id, donorId);
    return ending(id);
  }

  private Map<String, float[]> reads(StepEngine.Output output, List<String> hooks) {
    Map<String, float[]> reads = new LinkedHashMap<>();
    for (String hook : request.hooks()) {
      reads.put(hook, output.read(readRow, hooks.indexOf(hook)));
    }
    return reads;
  }

  private static int checked(int id, int vocabulary) {
    if (id < 0 || id >= vocabulary) {
      throw new IllegalStateException(
          "sampler: expected a token from 0 to %s, got %s".formatted(vocabulary - 1, id));
    }
    return id;
  }

  private static int[] grown(int[] values, int index) {
    return index < values.length ? values : Arrays.copyOf(values, Math.max(16, 2 * index));
  }

  private FinishReason ending(int id) {
    if (endTokens.contains(id) || request.stop().tokens().contains(id)) {
      return FinishReason.STOP_TOKEN;
    }
    if (text != null) {
      text.add(id);
      if (text.isStopped()) {
        return FinishReason.STOP_TEXT;
      }
    }
    if (known - prompt.length == request.stop().maxTokens()) {
      return FinishReason.LENGTH;
    }
    return known > capacity ? FinishReason.CONTEXT : null;
  }

  /** Frees what is native. */
  @Override
  public void close() {
    closed = true;
    if (donor != null) {
      donor.release();
    }
    while (!handles.isEmpty()) {
      handles.pop().close();
    }
  }
}
