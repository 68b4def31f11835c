package org.autocircuit.text;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.data.PromptTokens;
import org.autocircuit.eval.Logits;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.model.AnswerException;
import org.autocircuit.model.LoadOptions;
import org.autocircuit.model.Tokenizer;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;

/**
 * A model with its tokenizer: prompts go in as text.
 *
 * <pre>{@code
 * try (TextModel model = TextModel.open(Path.of("gpt2"))) {
 *   model.top("The capital of France is", 5).forEach(System.out::println);
 * }
 * }</pre>
 *
 * <p><b>Prompts</b> begin with the beginning-of-sequence token where {@link
 * Tokenizer#prependsBos()} says so. What is probably not meant in one, such as words that are not
 * in the vocabulary, is logged once for each model; {@link #warnings} tells it for any prompt.
 *
 * <p><b>Ownership.</b> Owns the model and the tokenizer: close this, and neither of them.
 * Everything that its methods return is plain Java data, nothing to close.
 *
 * <p><b>Threads.</b> Any number of threads may use one model at once. {@link #close} returns at
 * once: calls that other threads run finish, the last one frees the memory, and later calls throw
 * an {@link IllegalStateException}.
 */
public final class TextModel implements AutoCloseable {

  private static final Logger LOG = System.getLogger("org.autocircuit.text");

  private final PatchableModel model;
  private final Tokenizer tokenizer;
  private final int longest;
  private final NativeResource resource;
  private final AtomicBoolean warned = new AtomicBoolean();

  private TextModel(PatchableModel model, Tokenizer tokenizer, int longest) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.longest = longest;
    resource =
        new NativeResource(
            "TextModel (" + model + ")",
            () -> {
              try (tokenizer) {
                model.close();
              }
            });
  }

  /**
   * Opens a Hugging Face folder, or a GGUF file with {@code tokenizer.json} beside it, in 32-bit
   * floats on the CPU.
   *
   * @return to be closed by the caller
   * @throws org.autocircuit.model.CheckpointException if a file is missing, malformed or not
   *     supported; names it
   */
  public static TextModel open(Path model) {
    return open(model, PatchableModelOptions.defaults());
  }

  /** As {@link #open(Path)}, with a graph of one's choice. */
  public static TextModel open(Path model, PatchableModelOptions options) {
    return open(ModelFiles.of(model), LoadOptions.DEFAULT, options);
  }

  /**
   * Opens a model.
   *
   * @param files where its weights and its tokenizer are
   * @param load precision and device
   * @param options the graph
   * @return to be closed by the caller
   * @throws org.autocircuit.model.CheckpointException if a file is missing, malformed or not
   *     supported; names it
   * @throws IllegalArgumentException if there is no such device
   */
  public static TextModel open(ModelFiles files, LoadOptions load, PatchableModelOptions options) {
    // Before the tokenizer: what a folder is says more than that a file is missing in it.
    files.config();
    Tokenizer tokenizer = files.loadTokenizer();
    PatchableModel model = null;
    boolean opened = false;
    try {
      model = PatchableModel.open(files.model(), load, options);
      TextModel made = of(model, tokenizer);
      opened = true;
      return made;
    } finally {
      if (!opened) {
        tokenizer.close();
        if (model != null) {
          model.close();
        }
      }
    }
  }

  /**
   * Joins a model and its tokenizer, and takes both over: close this instead of them.
   *
   * @throws IllegalArgumentException if the model takes no tokens; nothing is taken over then
   */
  public static TextModel of(PatchableModel model, Tokenizer tokenizer) {
    Objects.requireNonNull(tokenizer, "tokenizer");
    if (!(model.config() instanceof TransformerConfig config)) {
      throw new IllegalArgumentException("model: expected one that takes tokens, got " + model);
    }
    return new TextModel(model, tokenizer, config.nCtx());
  }

  /** The model, for what goes by tokens and tensors. Stays this object's: do not close it. */
  public PatchableModel model() {
    return model;
  }

  /** The tokenizer. Stays this object's: do not close it. */
  public Tokenizer tokenizer() {
    return tokenizer;
  }

  /** The nodes and edges of the model; edges have names such as {@code A0.1->MLP 2}. */
  public ModelGraph graph() {
    return model.graph();
  }

  /**
   * Returns the most probable next tokens after a prompt, in descending order.
   *
   * @param n how many, at least 1
   * @throws IllegalArgumentException if the prompt has no token, or more than the model takes
   * @throws org.autocircuit.NotFiniteException if a logit is NaN or infinite
   * @throws IllegalStateException if closed
   */
  public List<NextToken> top(String prompt, int n) {
    return next(prompt).top(n);
  }

  /**
   * Runs the model on a prompt and returns how probable every token is as the next one.
   *
   * @throws IllegalArgumentException if the prompt has no token, or more than the model takes
   * @throws org.autocircuit.NotFiniteException if a logit is NaN or infinite
   * @throws IllegalStateException if closed
   */
  public NextTokens next(String prompt) {
    try (NativeResource.Use use = resource.use()) {
      return next(encoded("prompt", prompt), PatchContext.NONE);
    }
  }

  /**
   * Returns the tokens of a prompt as the model reads them.
   *
   * @throws IllegalArgumentException if it has no token, or more than the model takes
   * @throws IllegalStateException if closed
   */
  public long[] tokens(String prompt) {
    try (NativeResource.Use use = resource.use()) {
      return encoded("prompt", prompt);
    }
  }

  /**
   * Returns the one token that continues a prompt as an answer does, for {@link NextTokens#get}. An
   * answer usually brings its leading space: {@code " Mary"}; without one it is tried with one,
   * too.
   *
   * @throws AnswerException if the answer is not exactly one token after the prompt; lists them
   * @throws IllegalStateException if closed
   */
  public long answer(String prompt, String answer) {
    try (NativeResource.Use use = resource.use()) {
      try {
        return tokenizer.answerToken(prompt, answer);
      } catch (AnswerException e) {
        if (answer.startsWith(" ")) {
          throw e;
        }
        return tokenizer.answerToken(prompt, " " + answer);
      }
    }
  }

  /**
   * Says what is probably not meant in a prompt, a line each: words that are not in the vocabulary,
   * special tokens that it spells, a space at its end.
   *
   * @throws IllegalStateException if closed
   */
  public List<String> warnings(String prompt) {
    try (NativeResource.Use use = resource.use()) {
      return warnings("prompt", prompt);
    }
  }

  /**
   * Runs the model on the clean prompt twice: as it is, and with edges that carry what their
   * sources put out on the corrupt prompt.
   *
   * @param corrupt as many tokens as the clean prompt
   * @param edges names such as {@code "A0.1->MLP 2"}; {@code graph().edges()} lists all. In a graph
   *     with positions a name means all of them, and {@code "A0.1->MLP 2@9"} position 9
   * @throws IllegalArgumentException if there is no edge of some name, with the nearest one; if the
   *     prompts differ in their number of tokens, with the tokens; or if one has none, or more than
   *     the model takes
   * @throws org.autocircuit.NotFiniteException if a logit is NaN or infinite
   * @throws IllegalStateException if closed
   */
  public Patched patch(String clean, String corrupt, Collection<String> edges) {
    return patch(clean, corrupt, Masks.ofNames(graph(), edges));
  }

  /** As {@link #patch(String, String, Collection)}, of edges of this model's graph. */
  public Patched patch(String clean, String corrupt, EdgeSet edges) {
    return patch(clean, corrupt, Masks.ofEdges(edges));
  }

  private Patched patch(String clean, String corrupt, Masks masks) {
    try (NativeResource.Use use = resource.use()) {
      long[] tokens = encoded("clean", clean);
      long[] other = encoded("corrupt", corrupt);
      if (tokens.length != other.length) {
        throw new IllegalArgumentException(
            "corrupt has %s tokens, clean has %s: %s; clean: %s"
                .formatted(
                    other.length, tokens.length, tokenizer.show(other), tokenizer.show(tokens)));
      }
      try (SourceActivations activations =
          model.sourceAblations(new long[][] {other}, AblationType.RESAMPLE)) {
        return new Patched(
            next(tokens, PatchContext.NONE), next(tokens, PatchContext.of(activations, masks)));
      }
    }
  }

  private List<String> warnings(String name, String prompt) {
    return List.copyOf(
        PromptTokens.warnings(tokenizer, prompt, name, tokenizer.prependsBos()).values());
  }

  private long[] encoded(String name, String prompt) {
    long[] tokens = tokenizer.encode(Objects.requireNonNull(prompt, name));
    if (tokens.length == 0 || tokens.length > longest) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "%s has %,d tokens, the model takes 1 to %,d",
              name,
              tokens.length,
              longest));
    }
    if (!warned.get()) {
      List<String> warnings = warnings(name, prompt);
      if (!warnings.isEmpty() && warned.compareAndSet(false, true)) {
        warnings.forEach(line -> LOG.log(Level.WARNING, line));
      }
    }
    return tokens;
  }

  private NextTokens next(long[] tokens, PatchContext context) {
    Logits logits = Logits.of(model.logits(new long[][] {tokens}, context));
    if (!logits.isFinite(0)) {
      throw model.precision().notFinite("logits");
    }
    return NextTokens.of(logits, 0, tokenizer);
  }

  /** Closes the model and the tokenizer. Does nothing the second time. */
  @Override
  public void close() {
    resource.close();
  }

  /** What it is called in messages. */
  @Override
  public String toString() {
    return resource.toString();
  }
}
