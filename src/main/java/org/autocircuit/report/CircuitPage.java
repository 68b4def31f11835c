package org.autocircuit.report;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.function.IntFunction;
import org.autocircuit.internal.AtomicFile;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ScoreSign;
import org.autocircuit.prune.VerifiedScores;

/**
 * A page on which people explore scores and the circuits that they pick: the graph with a slider
 * over all sizes, search, the scores of each node and edge, a curve of what circuits recover, a map
 * of the heads, and the prompts. All of it but the scores can be left out.
 *
 * <p>The page is one HTML file that stands alone: it needs neither network nor other files. It is
 * drawn with d3, an optional dependency ({@code org.webjars.npm:d3:7.9.0}) that writing a page
 * needs on the class path. A page has every score of a graph of up to {@value PageData#MOST_EDGES}
 * edges, in single precision, and as many of the greatest ones of a larger graph.
 *
 * <pre>{@code
 * CircuitPage.builder(scores, "Who gets the drink")
 *     .fact("model", "gpt2")
 *     .method("edge attribution patching", "logits", ScoreSign.SIGNED, "how much ... falls")
 *     .build()
 *     .write(Path.of("circuit.html"));
 * }</pre>
 *
 * <p>Immutable, safe to share between threads; builders are not.
 */
public final class CircuitPage {

  /**
   * The smallest circuit that recovers a share of the model's metric.
   *
   * @param share the share, 0 to 1
   * @param edges its size
   * @param recovered the share on the prompts it was found with
   * @param tested the share on held-out prompts; NaN without any
   */
  public record Smallest(double share, int edges, double recovered, double tested) {}

  /**
   * A prompt, for people to read. What circuits make of it is with the curves.
   *
   * @param clean its tokens
   * @param corrupt those of its corrupt counterpart
   * @param answers tokens of the right answers
   * @param wrongAnswers tokens of the wrong ones
   */
  public record Prompt(
      List<String> clean, List<String> corrupt, List<String> answers, List<String> wrongAnswers) {

    /** Copies the lists. */
    public Prompt {
      clean = List.copyOf(clean);
      corrupt = List.copyOf(corrupt);
      answers = List.copyOf(answers);
      wrongAnswers = List.copyOf(wrongAnswers);
    }
  }

  /** Scores with what is said of them. */
  record Method(String name, String unit, ScoreSign sign, String meaning, PruneScores scores) {}

  /** Prompts, of which there are more than these. */
  record Prompts(int of, List<Prompt> rows) {}

  /** Attention of heads on a prompt. */
  record Attention(int prompt, Map<String, float[][]> heads) {}

  final String title;
  final Map<String, String> facts;
  final List<Method> methods;
  final Optional<IntFunction<String>> positions;
  final Optional<VerifiedScores> verified;
  final List<RecoveryCurve> curves;
  final Optional<Smallest> smallest;
  final Optional<Prompts> prompts;
  final Optional<String> engine;
  final Optional<PruneScores> standardErrors;
  final List<Attention> attention;

  private CircuitPage(Builder builder) {
    title = builder.title;
    facts = new LinkedHashMap<>(builder.facts);
    methods = List.copyOf(builder.methods);
    positions = Optional.ofNullable(builder.positions);
    verified = Optional.ofNullable(builder.verified);
    curves = List.copyOf(builder.curves);
    smallest = Optional.ofNullable(builder.smallest);
    prompts = Optional.ofNullable(builder.prompts);
    engine = Optional.ofNullable(builder.engine);
    standardErrors = Optional.ofNullable(builder.standardErrors);
    attention = List.copyOf(builder.attention);
  }

  /**
   * Begins a page.
   *
   * @param scores of all edges of a graph
   * @param title a line of text above
   */
  public static Builder builder(PruneScores scores, String title) {
    return new Builder(scores, title);
  }

  /**
   * Writes the page, in place of an older file when it is complete.
   *
   * @throws IOException if the file cannot be written
   * @throws IllegalStateException if d3 is not on the class path
   */
  public void write(Path file) throws IOException {
    AtomicFile.write(file, html().getBytes(StandardCharsets.UTF_8));
  }

  /**
   * Returns the page.
   *
   * @throws IllegalStateException if d3 is not on the class path
   */
  public String html() {
    return PageFile.of(title, engine.isPresent() ? "explore" : "main", PageData.of(this));
  }

  /** Returns the title and what is scored. */
  @Override
  public String toString() {
    return "CircuitPage[%s, %s]".formatted(title, methods.get(0).scores());
  }

  /** Collects what a page shows. For one thread. */
  public static final class Builder {

    private final String title;
    private final Map<String, String> facts = new LinkedHashMap<>();
    private final List<Method> methods = new ArrayList<>();
    private IntFunction<String> positions;
    private VerifiedScores verified;
    private final List<RecoveryCurve> curves = new ArrayList<>();
    private Smallest smallest;
    private Prompts prompts;
    private String engine;
    private PruneScores standardErrors;
    private final List<Attention> attention = new ArrayList<>();

    private Builder(PruneScores scores, String title) {
      this.title = Objects.requireNonNull(title, "title");
      methods.add(new Method("scores", "none", ScoreSign.SIGNED, "", scores));
    }

    /** Adds a name and what there is to say about it: a model, a command, a date, a hash. */
    public Builder fact(String name, String text) {
      facts.put(Objects.requireNonNull(name, "name"), Objects.requireNonNull(text, "text"));
      return this;
    }

    /**
     * Says what gave the scores.
     *
     * @param name of the algorithm
     * @param unit of the scores, in the plural; {@code none} where nothing is measured
     * @param sign whether signs mean anything
     * @param meaning a sentence on what a score is
     */
    public Builder method(String name, String unit, ScoreSign sign, String meaning) {
      methods.set(0, new Method(name, unit, sign, meaning, methods.get(0).scores()));
      return this;
    }

    /**
     * Adds scores of the same edges by something else, to compare with.
     *
     * @param name of the algorithm or the file
     * @param unit of the scores, in the plural; {@code none} where nothing is measured
     * @param sign whether signs mean anything
     * @param meaning a sentence on what a score is
     * @throws IllegalArgumentException if they are those of another graph
     */
    public Builder other(
        String name, String unit, ScoreSign sign, String meaning, PruneScores scores) {
      requireSameGraph(scores);
      methods.add(new Method(name, unit, sign, meaning, scores));
      return this;
    }

    /**
     * Adds the standard errors of the first scores.
     *
     * @throws IllegalArgumentException if they are those of another graph
     */
    public Builder standardErrors(PruneScores value) {
      requireSameGraph(value);
      standardErrors = value;
      return this;
    }

    /** Says what stands at each position, in a graph that has edges for each. */
    public Builder positions(IntFunction<String> value) {
      positions = Objects.requireNonNull(value, "positions");
      return this;
    }

    /**
     * Adds the exact effects of some edges.
     *
     * @throws IllegalArgumentException if they are those of another graph
     */
    public Builder verified(VerifiedScores value) {
      requireSameGraph(value.estimates());
      verified = value;
      return this;
    }

    /** Adds what circuits recover; the first is shown, others beside it. */
    public Builder curve(RecoveryCurve value) {
      curves.add(Objects.requireNonNull(value, "curve"));
      return this;
    }

    /** Adds the smallest circuit that recovers a share. */
    public Builder smallest(Smallest value) {
      smallest = Objects.requireNonNull(value, "smallest");
      return this;
    }

    /**
     * Adds prompts, to be seen one by one beside what the circuits of curves make of them.
     *
     * @param of how many prompts the curves have, of which these are the first
     * @param rows some of them
     */
    public Builder prompts(int of, List<Prompt> rows) {
      prompts = new Prompts(of, List.copyOf(rows));
      return this;
    }

    /**
     * Makes it the page of a server that runs circuits, {@code explore.ExploreServer}, to which
     * alone it may connect. Such a page is of no use as a file.
     *
     * @param json what the modules of the page have to know of the server
     */
    public Builder engine(String json) {
      engine = Objects.requireNonNull(json, "engine");
      return this;
    }

    /**
     * Adds where heads look on one of the prompts.
     *
     * @param prompt its index among those of {@link #prompts}
     * @param heads by their names {@code [query][key]}, 0 to 1, what each token takes of itself and
     *     of earlier ones; not to be changed later
     */
    public Builder attention(int prompt, Map<String, float[][]> heads) {
      attention.add(new Attention(prompt, new LinkedHashMap<>(heads)));
      return this;
    }

    /** Makes the page. */
    public CircuitPage build() {
      return new CircuitPage(this);
    }

    private void requireSameGraph(PruneScores others) {
      PruneScores scores = methods.get(0).scores();
      if (!others.graph().equals(scores.graph())) {
        throw new IllegalArgumentException(
            "expected scores of the %s, got %s".formatted(scores.graph(), others));
      }
    }
  }
}
