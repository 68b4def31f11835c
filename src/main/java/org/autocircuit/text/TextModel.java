package org.autocircuit.text;

import java.io.IOException;
import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.checkpoint.LoadOptions;
import org.autocircuit.data.PromptBatches;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.eval.Logits;
import org.autocircuit.generate.Generator;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeResource;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.PatchType;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.tokenizer.Tokenizer;

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
 * <p><b>Errors.</b> Prompts without a token, and those that are longer than the model takes, are
 * refused with an {@link IllegalArgumentException}; all problems of a data set are named at once. A
 * {@link org.autocircuit.exception.NotFiniteException} says that logits or scores are NaN or
 * infinite, an {@link IllegalStateException} that this is closed.
 *
 * <p><b>Threads.</b> Any number of threads may use one model at once. {@link #close} returns at
 * once: calls that other threads run finish, the last one frees the memory, and later calls are
 * refused.
 */
public final class TextModel implements AutoCloseable {

  private static final System.Logger LOG = System.getLogger("org.autocircuit.text");
  private static final int BATCH_SIZE = 32;

  private final String name;
  private final PatchableModel model;
  private final PromptEncoder encoder;
  private final List<Integer> endTokens;
  private final NativeResource resource;

  /** Takes model and encoder over. */
  private TextModel(
      String name, PatchableModel model, PromptEncoder encoder, List<Integer> endTokens) {
    this.name = name;
    this.model = model;
    this.encoder = encoder;
    this.endTokens = endTokens;
    resource =
        new NativeResource(
            "TextModel (" + model + ")",
            () -> {
              try (encoder) {
                model.close();
              }
            });
  }

  /**
   * Opens a Hugging Face folder, or a GGUF file with {@code tokenizer.json} beside it, in 32-bit
   * floats on the CPU.
   *
   * @return to be closed by the caller
   * @throws org.autocircuit.exception.CheckpointException if a file is missing, malformed or not
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
   * @throws org.autocircuit.exception.CheckpointException if a file is missing, malformed or not
   *     supported; names it
   * @throws IllegalArgumentException if there is no such device
   */
  public static TextModel open(ModelFiles files, LoadOptions load, PatchableModelOptions options) {
    // Before the tokenizer: what a folder is says more than that a file is missing in it.
    List<Integer> endTokens = files.config().eosTokenIds();
    Tokenizer tokenizer = files.loadTokenizer();
    TextModel opened = null;
    try {
      opened =
          of(files.name(), PatchableModel.open(files.model(), load, options), tokenizer, endTokens);
      return opened;
    } finally {
      if (opened == null) {
        tokenizer.close();
      }
    }
  }

  /**
   * Joins a model and its tokenizer, and takes both over: close this instead of them.
   *
   * @throws IllegalArgumentException if the model takes no tokens; nothing is taken over then
   */
  public static TextModel of(PatchableModel model, Tokenizer tokenizer) {
    return of(model.toString(), model, tokenizer, List.of());
  }

  /** Joins them under a name; for the same errors as {@link #of(PatchableModel, Tokenizer)}. */
  private static TextModel of(
      String name, PatchableModel model, Tokenizer tokenizer, List<Integer> endTokens) {
    if (!(model.config() instanceof TransformerConfig config)) {
      throw new IllegalArgumentException("model: expected one that takes tokens, got " + model);
    }
    return new TextModel(name, model, new PromptEncoder(tokenizer, config.nCtx()), endTokens);
  }

  /**
   * Returns this model with another graph: another object, to be closed like this one, which shares
   * the weights and the tokenizer.
   *
   * @throws IllegalArgumentException if the options do not fit the model
   */
  public TextModel withOptions(PatchableModelOptions options) {
    try (NativeResource.Use use = resource.use()) {
      return new TextModel(name, model.withOptions(options), encoder.share(), endTokens);
    }
  }

  /**
   * Returns this model with edges for each token position of some prompts, as {@link #withOptions}.
   *
   * @throws org.autocircuit.exception.PromptDatasetException if the prompts differ in their number
   *     of tokens; names those that do
   */
  public TextModel perPosition(PromptDataset prompts) {
    try (NativeResource.Use use = resource.use()) {
      return withOptions(model.options().withSeqLen(encoder.encode(prompts).oneLength()));
    }
  }

  /** Returns what the model is called: its folder or file, without those around it. */
  public String name() {
    return name;
  }

  /** The model, for what goes by tokens and tensors. Stays this object's: do not close it. */
  public PatchableModel model() {
    return model;
  }

  /** The tokenizer. Stays this object's: do not close it. */
  public Tokenizer tokenizer() {
    return encoder.tokenizer();
  }

  /**
   * Begins a generator of answers by this model. Its tokenizer is this one's, and answers end at
   * the tokens that the model's files name; a model that was joined with a tokenizer has none.
   *
   * @return whose generator is to be closed before this
   */
  public Generator.Builder generator() {
    try (NativeResource.Use use = resource.use()) {
      return Generator.builder(model).tokenizer(encoder.tokenizer()).stopTokens(endTokens);
    }
  }

  /** The nodes and edges of the model; edges have names such as {@code A0.1->MLP 2}. */
  public ModelGraph graph() {
    return model.graph();
  }

  /**
   * Returns the {@code n} most probable next tokens after a prompt, in descending order; see {@link
   * #next}.
   */
  public List<NextToken> top(String prompt, int n) {
    return next(prompt).top(n);
  }

  /** Runs the model on a prompt and returns how probable every token is as the next one. */
  public NextTokens next(String prompt) {
    try (NativeResource.Use use = resource.use()) {
      return next(encoder.encode("prompt", prompt), PatchContext.NONE);
    }
  }

  /** Returns the tokens of a prompt as the model reads them. */
  public long[] tokens(String prompt) {
    try (NativeResource.Use use = resource.use()) {
      return encoder.encode("prompt", prompt);
    }
  }

  /**
   * Returns the one token that continues a prompt as an answer does, for {@link NextTokens#get}. An
   * answer usually brings its leading space: {@code " Mary"}; without one it is tried with one,
   * too.
   *
   * @throws org.autocircuit.exception.AnswerException if the answer is not exactly one token after
   *     the prompt; lists them
   */
  public long answer(String prompt, String answer) {
    try (NativeResource.Use use = resource.use()) {
      return encoder.answer(prompt, answer);
    }
  }

  /**
   * Says what is probably not meant in a prompt, a line each: words that are not in the vocabulary,
   * special tokens that it spells, a space at its end that the tokenizer keeps, no text at all.
   */
  public List<String> warnings(String prompt) {
    try (NativeResource.Use use = resource.use()) {
      return encoder.warnings("prompt", prompt);
    }
  }

  /**
   * Runs the model on the clean prompt twice: as it is, and with edges that carry what their
   * sources put out on the corrupt prompt.
   *
   * @param corrupt as many tokens as the clean prompt
   * @param edges names such as {@code "A0.1->MLP 2"}; {@code graph().edges()} lists all. In a graph
   *     with positions a name means all of them, and {@code "A0.1->MLP 2@9"} position 9; the first
   *     token is at 0, which may be the beginning-of-sequence token
   * @throws IllegalArgumentException if there is no edge of some name, with the nearest one, or if
   *     the prompts differ in their number of tokens, with the tokens
   */
  public Patched patch(String clean, String corrupt, Collection<String> edges) {
    return patch(clean, corrupt, EdgeSet.ofNames(graph(), edges));
  }

  /** As {@link #patch(String, String, Collection)}, of edges of this model's graph. */
  public Patched patch(String clean, String corrupt, EdgeSet edges) {
    return patch(clean, corrupt, Masks.ofEdges(edges), BatchAblation.RESAMPLE);
  }

  /**
   * Runs the model on the clean prompt twice: as it is, and a circuit alone, all other edges being
   * patched as the circuit's ablation says.
   *
   * @param corrupt as many tokens as the clean prompt
   * @throws IllegalArgumentException as {@link #patch(String, String, Collection)}; if the circuit
   *     is one of another graph, or its ablation a mean over a data set
   */
  public Patched run(Circuit circuit, String clean, String corrupt) {
    requireOwnGraph(circuit);
    if (!(circuit.ablation() instanceof BatchAblation ablation)) {
      throw new IllegalArgumentException(
          "circuit: expected an ablation of single prompts, got %s, a mean over a data set"
              .formatted(circuit.ablation()));
    }
    return patch(clean, corrupt, Masks.allBut(circuit.edges()), ablation);
  }

  private Patched patch(String clean, String corrupt, Masks masks, BatchAblation ablation) {
    try (NativeResource.Use use = resource.use()) {
      long[][] pair = encoder.encodePair(clean, corrupt);
      try (SourceActivations activations =
          model.sourceAblations(new long[][] {pair[1]}, ablation)) {
        return new Patched(
            next(pair[0], PatchContext.NONE), next(pair[0], PatchContext.of(activations, masks)));
      }
    }
  }

  /**
   * Runs the model on a prompt and reads what it computes at hook points.
   *
   * @param hookNames such as {@code blocks.0.attn.hook_pattern}; {@code model().hookNames()} lists
   *     all
   * @return name to values, in the order given, {@code [1, seq, ...]}
   * @throws IllegalArgumentException if there is no hook point of some name, with the nearest one;
   *     or as {@link #next}
   */
  public Map<String, ActivationValues> activations(String prompt, String... hookNames) {
    try (NativeResource.Use use = resource.use();
        CallScope scope = new CallScope()) {
      ForwardRequest request =
          ForwardRequest.of(new long[][] {encoder.encode("prompt", prompt)})
              .withContext(PatchContext.NONE)
              .withGrad(false)
              .withReads(hookNames);
      Map<String, ActivationValues> values = new LinkedHashMap<>();
      model
          .forward(request)
          .reads()
          .forEach((hook, tensor) -> values.put(hook, ActivationValues.of(tensor)));
      return Collections.unmodifiableMap(values);
    }
  }

  /**
   * Runs the model on a prompt and says where heads looked.
   *
   * @param heads names such as {@code A0.1}
   * @return one for each head, in the order given
   * @throws IllegalArgumentException if there is no such head; or as {@link #next}
   */
  public List<AttentionPattern> attention(String prompt, String... heads) {
    return AttentionPatterns.of(this, prompt, List.of(heads));
  }

  /**
   * Scores every edge by edge attribution patching: how much the answers' logits, less those of the
   * wrong answers where there are any, fall when the edge alone is patched from the corrupt
   * prompts. {@link MaskGradient} has more settings, and takes {@link #batches}.
   *
   * @return to choose a circuit of: {@link #circuit}
   */
  public PruneScores discover(PromptDataset prompts) {
    try (NativeResource.Use use = resource.use()) {
      List<PromptPairBatch> batches = batches(prompts, BATCH_SIZE);
      return MaskGradient.builder().answerFunctionFor(batches).build().pruneScores(model, batches);
    }
  }

  /** As {@link #discover(PromptDataset)}, of pairs made in memory. */
  public PruneScores discover(List<PromptPair> pairs) {
    return discover(new PromptDataset(pairs));
  }

  /**
   * Makes a circuit of the edges with the greatest absolute scores, which bears this model's name.
   *
   * @throws IllegalArgumentException as {@link Circuit#of(PruneScores, int)}
   */
  public Circuit circuit(PruneScores scores, int size) {
    return Circuit.of(scores, size).withModel(name);
  }

  /**
   * Loads a circuit of this model, and logs a warning if it was found in a model of another name.
   *
   * @throws IOException as {@link Circuit#load}
   * @throws IllegalArgumentException as {@link Circuit#load}
   */
  public Circuit loadCircuit(Path file) throws IOException {
    Circuit circuit = Circuit.load(graph(), file);
    if (!circuit.model().isEmpty() && !circuit.model().equals(name)) {
      LOG.log(
          Level.WARNING,
          VisibleText.of(
              "%s: a circuit of %s, loaded for %s".formatted(file, circuit.model(), name)));
    }
    return circuit;
  }

  /**
   * Runs a circuit alone on prompts, and compares it with the answers and with the model.
   *
   * @throws IllegalArgumentException if the circuit is one of another graph
   */
  public CircuitMeasures measure(Circuit circuit, PromptDataset prompts) {
    requireOwnGraph(circuit);
    try (NativeResource.Use use = resource.use()) {
      return CircuitRuns.builder(PruneScores.ofCircuit(circuit.edges()))
          .sizes(List.of(circuit.size()))
          .patchType(PatchType.TREE_PATCH)
          .ablation(circuit.ablation())
          .build()
          .measure(model, batches(prompts, BATCH_SIZE))
          .get(circuit.size());
    }
  }

  private void requireOwnGraph(Circuit circuit) {
    if (!circuit.graph().equals(graph())) {
      throw new IllegalArgumentException(
          "circuit: expected one of a %s, got one of a %s; open the model with the same options"
              .formatted(graph(), circuit.graph()));
    }
  }

  /** Compares the model as it is with the answers of prompts, as {@link #measure} does circuits. */
  public CircuitMeasures measure(PromptDataset prompts) {
    try (NativeResource.Use use = resource.use()) {
      return CircuitMeasures.ofModel(model, batches(prompts, BATCH_SIZE));
    }
  }

  /**
   * Cuts prompts into batches of tokens for algorithms such as {@code Acdc}; those of a batch are
   * equally long.
   *
   * @param size pairs of a full batch
   */
  public List<PromptPairBatch> batches(PromptDataset prompts, int size) {
    try (NativeResource.Use use = resource.use()) {
      return encoder
          .encode(prompts)
          .batches(0, prompts.size(), PromptBatches.Options.ofSize(size).withGroupByLength())
          .batches();
    }
  }

  private NextTokens next(long[] tokens, PatchContext context) {
    Logits logits = Logits.of(model.logits(new long[][] {tokens}, context));
    if (!logits.isFinite(0)) {
      throw model.precision().notFinite("logits");
    }
    return NextTokens.of(logits, 0, encoder.tokenizer());
  }

  /** Closes the model and the tokenizer. Does nothing the second time. */
  @Override
  public void close() {
    resource.close();
  }

  /** Returns what it is called in messages. */
  @Override
  public String toString() {
    return resource.toString();
  }
}
