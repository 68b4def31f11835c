package org.autocircuit.known;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.stream.Collectors;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.Model;

/**
 * A transformer of two blocks whose weights were written by hand, prompts for its task, and the
 * edges that do it: those that change the logit difference on these prompts when they alone are
 * patched with the corrupt prompts' sources. So every algorithm can be measured against the truth.
 * Heads with random weights that nothing listens to stand beside those that do the task.
 *
 * <p>There are two versions. In the <b>soft</b> one attention scores that depend on tokens differ
 * by 4 at most and logits by 8, so gradients say something about every edge of the circuit. In the
 * <b>saturated</b> one a head of each model has scores that differ by so much that the softmax's
 * gradient is exactly 0: attribution by the gradient at the clean prompts gives an edge into its
 * queries or keys score 0, though patching it changes the answer. No edge of a circuit reaches the
 * answer only through the saturated queries or keys of a later head, so methods that compute the
 * softmax afresh for a patched query or key can find them all.
 *
 * <p>The prompts are the same in both. Immutable, safe to share between threads.
 *
 * <pre>{@code
 * KnownModel known = KnownModel.of(KnownTask.INDUCTION, true);
 * try (Model model = known.model();
 *     PatchableModel patchable = PatchableModel.of(model, PatchableModelOptions.defaults())) {
 *   PruneScores scores = MaskGradient.builder().build().pruneScores(patchable, known.batches(16));
 *   System.out.println(RocCurve.of(scores, known.truth(patchable.graph())));
 * }
 * }</pre>
 */
public final class KnownModel {

  /** A prompt, its corrupt counterpart, and the tokens that they go on with. */
  static final class Example {

    private final int[] clean;
    private final int[] corrupt;
    private final int answer;
    private final int wrong;

    Example(int[] clean, int[] corrupt, int answer, int wrong) {
      this.clean = clean;
      this.corrupt = corrupt;
      this.answer = answer;
      this.wrong = wrong;
    }
  }

  private final KnownTask task;
  private final boolean saturated;
  private final HandWrittenWeights weights;
  private final List<String> vocabulary;
  private final List<Example> examples;
  private final List<String> edges;

  KnownModel(
      KnownTask task,
      boolean saturated,
      HandWrittenWeights weights,
      List<String> vocabulary,
      List<Example> examples,
      List<String> edges) {
    this.task = task;
    this.saturated = saturated;
    this.weights = weights;
    this.vocabulary = List.copyOf(vocabulary);
    this.examples = List.copyOf(examples);
    this.edges = List.copyOf(edges);
  }

  /**
   * The model of a task.
   *
   * @param saturated whether attention is saturated
   */
  public static KnownModel of(KnownTask task, boolean saturated) {
    return switch (Objects.requireNonNull(task, "task")) {
      case REVERSE -> ReverseTask.model(saturated);
      case INDUCTION -> InductionTask.model(saturated);
      case BRACKETS -> BracketsTask.model(saturated);
    };
  }

  /** All models: of each task the soft and the saturated one. */
  public static List<KnownModel> all() {
    List<KnownModel> all = new ArrayList<>();
    for (KnownTask task : KnownTask.values()) {
      all.add(of(task, false));
      all.add(of(task, true));
    }
    return all;
  }

  /** The task. */
  public KnownTask task() {
    return task;
  }

  /** Returns whether attention is saturated. */
  public boolean isSaturated() {
    return saturated;
  }

  /** A new model on the CPU in single precision, to be closed. */
  public Model model() {
    return weights.model(toString());
  }

  /** The tokens, by their numbers. */
  public List<String> vocabulary() {
    return vocabulary;
  }

  /** The number of prompts. */
  public int prompts() {
    return examples.size();
  }

  /**
   * The prompts, all of one length, with one answer and one wrong answer each: the token that the
   * corrupt prompt goes on with.
   *
   * @param batchSize prompts of a batch; the last batch may have fewer
   * @throws IllegalArgumentException if it is not positive
   */
  public List<PromptPairBatch> batches(int batchSize) {
    if (batchSize < 1) {
      throw new IllegalArgumentException("batchSize must be positive, got " + batchSize);
    }
    List<PromptPairBatch> batches = new ArrayList<>();
    for (int begin = 0; begin < examples.size(); begin += batchSize) {
      batches.add(batch(examples.subList(begin, Math.min(begin + batchSize, examples.size()))));
    }
    return batches;
  }

  /** The names of the edges that do the task. */
  public List<String> edges() {
    return edges;
  }

  /**
   * The edges that do the task, in the model's graph.
   *
   * @param graph the model's factorised graph of separate queries, keys and values, with one edge
   *     for all positions
   * @throws IllegalArgumentException if it is another graph
   */
  public EdgeSet truth(ModelGraph graph) {
    if (!graph.equals(ModelGraph.of(weights.config(), true, true))) {
      throw new IllegalArgumentException(
          "graph: expected the factorised one of %s, of separate queries, keys and values, for all"
                  .formatted(this)
              + " positions, got a "
              + graph);
    }
    return EdgeSet.ofNames(graph, edges);
  }

  /** The task and the version. */
  @Override
  public String toString() {
    return task.name().toLowerCase(Locale.ROOT) + (saturated ? " (saturated)" : " (soft)");
  }

  private PromptPairBatch batch(List<Example> rows) {
    return new PromptPairBatch(
        rows.stream()
            .map(
                row ->
                    new PromptPair(
                        text(row.clean),
                        text(row.corrupt),
                        List.of(vocabulary.get(row.answer)),
                        List.of(vocabulary.get(row.wrong))))
            .toList(),
        rows.stream().map(row -> longs(row.clean)).toArray(long[][]::new),
        rows.stream().map(row -> longs(row.corrupt)).toArray(long[][]::new),
        rows.stream().map(row -> longs(row.answer)).toArray(long[][]::new),
        rows.stream().map(row -> longs(row.wrong)).toArray(long[][]::new));
  }

  private String text(int[] tokens) {
    return Arrays.stream(tokens).mapToObj(vocabulary::get).collect(Collectors.joining(" "));
  }

  private static long[] longs(int... tokens) {
    return Arrays.stream(tokens).asLongStream().toArray();
  }
}
