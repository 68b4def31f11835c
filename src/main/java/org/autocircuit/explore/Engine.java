package org.autocircuit.explore;

import java.util.Arrays;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.KlDivergence;
import org.autocircuit.eval.Logits;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Figures;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.Use;
import org.autocircuit.text.TextModel;

/**
 * Answers what pages ask. Passes of a prompt that no edge changes are kept for the next question.
 * Safe for use by several threads.
 */
final class Engine implements AutoCloseable {

  /** Prompts whose activations are kept: a few tabs, each with the one before it for undo. */
  private static final int MOST_PAIRS = 8;

  /** Tokens of all of them; a token of GPT-2 small takes half a MiB. */
  private static final int MOST_TOKENS = 512;

  private record Key(String clean, String corrupt, BatchAblation ablation) {}

  /**
   * An answer.
   *
   * @param plain the model's logits
   * @param patched those with edges patched
   * @param answer token of the answer
   * @param wrong token of the wrong one, -1 for none
   * @param difference what edges make of the answer
   * @param divergence in nats, of the patched from the plain predictions
   * @param clean tokens of the prompt, for people to read
   * @param corrupt those of its twin
   */
  record Answer(
      Logits plain,
      Logits patched,
      long answer,
      long wrong,
      Difference difference,
      double divergence,
      List<String> clean,
      List<String> corrupt) {}

  /** Logit differences: of the model, with some edges patched, and with all. */
  record Difference(double plain, double patched, double empty) {

    /**
     * The share of the model's logit difference that is left, from that with all edges patched, 0,
     * to the model's, 1; NaN where patching everything changes next to nothing.
     */
    double recovered() {
      double range = plain - empty;
      double scale = Math.max(Math.abs(plain), Math.abs(empty));
      return Math.abs(range) <= 1e-4 * Math.max(1, scale) ? Double.NaN : (patched - empty) / range;
    }
  }

  private final TextModel model;
  private final Map<Key, Pair> pairs = new LinkedHashMap<>(16, 0.75f, /* accessOrder= */ true);
  private final Map<Integer, TextModel> views = new ConcurrentHashMap<>();

  /** The model stays the caller's. */
  Engine(TextModel model) {
    this.model = model;
  }

  TextModel model() {
    return model;
  }

  ModelGraph graph() {
    return model.graph();
  }

  /** Work on a pair of prompts. */
  interface Work<T> {
    T on(Pair pair);
  }

  /** Answers a question. */
  Answer answer(Question question) {
    return with(question, pair -> answer(question, pair));
  }

  /** Works on the pair of a question, which stays open meanwhile. */
  <T> T with(Question question, Work<T> work) {
    Lease lease = lease(new Key(question.clean(), question.corrupt(), question.ablation()));
    try (Use use = lease.use()) {
      return work.on(lease.pair());
    }
  }

  private record Lease(Pair pair, Use use) {}

  private Lease lease(Key key) {
    synchronized (pairs) {
      Pair known = pairs.get(key);
      if (known != null) {
        return new Lease(known, known.use());
      }
    }
    // Not under the lock: other tabs need not wait for the passes of this one.
    Pair made = make(key);
    synchronized (pairs) {
      Pair known = pairs.putIfAbsent(key, made);
      if (known != null) {
        made.close();
        return new Lease(known, known.use());
      }
      Lease lease = new Lease(made, made.use());
      forgetOldest();
      return lease;
    }
  }

  private Pair make(Key key) {
    long[] clean = model.tokens(key.clean());
    long[] corrupt = model.tokens(key.corrupt());
    if (clean.length != corrupt.length) {
      throw new IllegalArgumentException(
          "corrupt: expected as many tokens as the prompt, %s, got %s"
              .formatted(Figures.count(clean.length, "token"), corrupt.length));
    }
    return new Pair(model.model(), clean, corrupt, key.ablation());
  }

  /** The last one stays, however long it is. */
  private void forgetOldest() {
    int tokens = pairs.values().stream().mapToInt(Pair::length).sum();
    Iterator<Pair> oldest = pairs.values().iterator();
    for (int left = pairs.size(); left > 1 && (left > MOST_PAIRS || tokens > MOST_TOKENS); left--) {
      Pair pair = oldest.next();
      tokens -= pair.length();
      oldest.remove();
      pair.close();
    }
  }

  private Answer answer(Question question, Pair pair) {
    long answer =
        question.answer().isEmpty()
            ? pair.plain().topToken(0)
            : model.answer(question.clean(), question.answer());
    long wrong =
        question.wrong().isEmpty()
            ? otherThan(answer, pair.other().topToken(0))
            : model.answer(question.clean(), question.wrong());
    TextModel view = view(question.at(), pair.length());
    EdgeSet edges = question.at() < 0 ? question.patched() : question.patchedAt(view.graph());
    Logits patched = pair.patched(view.model(), Masks.ofEdges(edges));
    Logits empty = pair.empty(view.model(), question.at(), () -> all(question, view.graph()));
    return new Answer(
        pair.plain(),
        patched,
        answer,
        wrong,
        new Difference(
            difference(pair.plain(), answer, wrong),
            difference(patched, answer, wrong),
            difference(empty, answer, wrong)),
        Math.max(0, KlDivergence.mean(patched, pair.plain())),
        shown(pair.clean()),
        shown(pair.corrupt()));
  }

  private List<String> shown(long[] tokens) {
    return Arrays.stream(tokens).mapToObj(model.tokenizer()::show).toList();
  }

  private static Masks all(Question question, ModelGraph graph) {
    EdgeSet all = EdgeSet.all(question.patched().graph());
    return Masks.ofEdges(question.at() < 0 ? all : question.with(all).patchedAt(graph));
  }

  private static long otherThan(long answer, long token) {
    return token == answer ? PromptPairBatch.NO_ANSWER : token;
  }

  private static double difference(Logits logits, long answer, long wrong) {
    double value = logits.get(0, Math.toIntExact(answer));
    return wrong < 0 ? value : value - logits.get(0, Math.toIntExact(wrong));
  }

  /** The model with edges for each position of so many tokens, where one of them is asked for. */
  TextModel view(int at, int length) {
    if (at < 0) {
      return model;
    }
    if (at >= length) {
      throw new IllegalArgumentException(
          "at: expected a position of the prompt, 0 to %s, got %s".formatted(length - 1, at));
    }
    return views.computeIfAbsent(
        length, n -> model.withOptions(model.model().options().withSeqLen(n)));
  }

  /** Frees what is kept; passes that run finish. The model stays the caller's. */
  @Override
  public void close() {
    synchronized (pairs) {
      pairs.values().forEach(Pair::close);
      pairs.clear();
    }
    views.values().forEach(TextModel::close);
  }
}
