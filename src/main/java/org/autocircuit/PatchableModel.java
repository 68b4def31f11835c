package org.autocircuit;

import com.google.errorprone.annotations.MustBeClosed;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.attribution.MaskGradientResult;
import org.autocircuit.attribution.PointAttribution;
import org.autocircuit.checkpoint.Checkpoints;
import org.autocircuit.checkpoint.LoadOptions;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.GraphEdges;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.internal.run.Passes;
import org.autocircuit.internal.run.PrefixPass;
import org.autocircuit.mode.ModelModes;
import org.autocircuit.model.Model;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.IncrementalRun;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PrefixCache;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.MaskValues;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Tensor;

/**
 * A model whose edges can be patched.
 *
 * <pre>{@code
 * try (PatchableModel model = PatchableModel.open(Path.of("gpt2"));
 *     SourceActivations corrupt = model.sourceAblations(corruptTokens, BatchAblation.RESAMPLE)) {
 *   Masks circuit = Masks.ofNames(model.graph(), List.of("A5.1->MLP 7", "MLP 7->Resid End"));
 *   float[][] logits = model.logits(cleanTokens, PatchContext.of(corrupt, circuit));
 * }
 * }</pre>
 *
 * <p><b>Two ways to patch.</b> Pass a {@link PatchContext} with each call, which is what servers
 * do: the call depends on nothing else. Or open modes, as in the Python original; then {@link
 * #forward(Tensor)} on the same thread is patched until they are closed. What takes a context
 * ignores open modes.
 *
 * <p><b>Threads.</b> Any number of threads may run one model at once, each with a circuit of its
 * own; no lock is held during a pass. The default {@link #masks()} belong to the thread that made
 * the model.
 *
 * <p><b>Ownership.</b> Close the model. Tensors that it returns belong to the caller's innermost
 * {@code PointerScope}, or where there is none to the caller, and stay valid when the model is
 * closed; so do backward passes. {@link #close} returns at once. Calls that other threads run
 * finish, those of several passes included, and the last one frees the model; every new call throws
 * an {@link IllegalStateException}.
 *
 * <p><b>Exit of the JVM.</b> When it shuts down, by {@code System.exit}, a signal or the end of the
 * last thread, it waits for calls of this library that run, up to 30 seconds: passes, {@link
 * #backward}, training and loading. Calls of many steps end after the one that they are in, with a
 * {@link org.autocircuit.exception.StoppedException}; new calls throw an {@link
 * IllegalStateException}. <em>It does not wait for LibTorch's own methods.</em> A thread, daemon or
 * not, that is inside {@code Tensor.backward()}, an optimiser's {@code step()} or arithmetic on
 * tensors when the process ends may crash it. Go backward with {@link #backward}, and do other work
 * on tensors within {@link #use}, for which the JVM waits, too.
 *
 * <p><b>Types.</b> Tokens are 64-bit integers {@code [batch, seq]} (a micro model's input: floats
 * {@code [batch, seq, d_model]}); masks, uniforms, gradients of masks and losses have the precision
 * in which the model accumulates, everything else has the model's; all are on its device. Prompts
 * that come as {@code long[][]} may differ in length; see {@link ModelInput} for padding. Arguments
 * that do not fit are refused with an {@link IllegalArgumentException} that says what was expected
 * and what came.
 *
 * <p><b>Gradients.</b> A pass is recorded for backward if its input, masks or source activations
 * require gradients, or if the request says so. Double backward is not supported.
 */
public final class PatchableModel extends ModelModes implements AutoCloseable {

  private static final Access.OfModel<Model> MODELS = Access.model(Model.class);
  private static final Access.OfMaskParameters<MaskParameters> MASKS =
      Access.maskParameters(MaskParameters.class);

  static {
    Access.OfPatchableModel<PatchableModel, Passes> accessor = model -> model.passes;
    Access.register(PatchableModel.class, accessor);
  }

  private final String name;
  private final Model model;
  private final PatchableModelOptions options;
  private final Passes passes;

  /** Takes everything over. */
  private PatchableModel(
      String name, Model model, OutputSlice slice, Passes passes, MaskParameters masks) {
    super(name, masks);
    ModelGraph graph = masks.graph();
    this.name = name;
    this.model = model;
    this.options = PatchableModelOptions.of(graph, slice);
    this.passes = passes;
  }

  /** Loads a Hugging Face folder and makes it patchable, both with default options. */
  public static PatchableModel open(Path folder) {
    return open(folder, PatchableModelOptions.defaults());
  }

  /** Loads a Hugging Face folder in 32-bit floats on the CPU and makes it patchable. */
  public static PatchableModel open(Path folder, PatchableModelOptions options) {
    return open(folder, LoadOptions.DEFAULT, options);
  }

  /**
   * Loads a Hugging Face folder and makes it patchable.
   *
   * @throws org.autocircuit.exception.CheckpointException if a file is missing, malformed,
   *     unsupported or truncated
   * @see Checkpoints#load(Path, LoadOptions)
   */
  public static PatchableModel open(Path folder, LoadOptions load, PatchableModelOptions options) {
    try (Model model = Checkpoints.load(folder, load)) {
      return of(model, options);
    }
  }

  /**
   * Makes a model patchable; the counterpart of the Python original's {@code patchable_model}. The
   * weights are shared with the model, which is not changed and may be closed.
   */
  public static PatchableModel of(Model model, PatchableModelOptions options) {
    return makeModelPatchable(model, options.graph(model.config()), options.outputSlice());
  }

  /**
   * Makes a model patchable along the nodes of a graph; the counterpart of the Python original's
   * {@code make_model_patchable}.
   *
   * @throws IllegalArgumentException if they are those of a graph of another structure
   */
  public static PatchableModel makeModelPatchable(
      Model model, GraphEdges edges, OutputSlice slice) {
    return makeModelPatchable(model, edges.graph(), slice);
  }

  /**
   * Makes a model patchable along the edges of a graph.
   *
   * @throws IllegalArgumentException if the graph is one of another structure
   */
  public static PatchableModel makeModelPatchable(
      Model model, ModelGraph graph, OutputSlice slice) {
    if (!graph.config().equals(model.config())) {
      throw new IllegalArgumentException(
          "graph: expected one of %s, got one of %s".formatted(model.config(), graph.config()));
    }
    return owning(model.to(model.device()), graph, slice, Optional.empty());
  }

  /** The structure of the model. */
  public ModelConfig config() {
    return model.config();
  }

  /** Returns how the model was made patchable. */
  public PatchableModelOptions options() {
    return options;
  }

  /** The type of weights and activations; that of masks is its {@code accumulation()}. */
  public Precision precision() {
    return model.precision();
  }

  /** Returns where weights and masks are, under LibTorch's name. */
  public String device() {
    return model.device();
  }

  /**
   * The weights that the model computes with; see {@link Model#weights()}.
   *
   * @throws IllegalStateException if the model is closed
   */
  public Map<String, Tensor> weights() {
    requireOpen();
    return model.weights();
  }

  /** The hook points that {@link ForwardRequest#withReads(String...)} can name. */
  public List<String> hookNames() {
    return passes.hookNames();
  }

  /**
   * The same patchable model on another device, to be closed like any other, made by any thread.
   * Its default masks belong to this thread, and have the values that the model's have outside of
   * modes; if the thread that made the model writes these meanwhile, the old ones or the new ones,
   * each by itself.
   *
   * @param device LibTorch's name of the device
   * @throws IllegalArgumentException if there is no such device
   * @throws IllegalStateException if the model is closed, or has a prefix, which stays where it is
   */
  public PatchableModel to(String device) {
    requireOpen();
    if (prefix().isPresent()) {
      throw new IllegalStateException(
          name + " cannot be moved: move the model without prefix, and make the prefix there");
    }
    try (Use use = use();
        CallScope scope = new CallScope()) {
      PatchableModel moved =
          owning(model.to(device), graph(), options.outputSlice(), Optional.empty());
      boolean made = false;
      try {
        moved.masks().set(MASKS.outsideModes(masks()));
        made = true;
        return moved;
      } finally {
        if (!made) {
          moved.close();
        }
      }
    }
  }

  /**
   * This model with a prefix before all its prompts, whatever runs them; the counterpart of the
   * Python original's argument {@code kv_caches} of {@code patchable_model}. It is another model,
   * to be closed like this one: it shares the weights and has the same graph, with masks (at first
   * 0) and modes of its own.
   *
   * @param prefix stays the caller's, and is needed as long as the model is used; takes the place
   *     of this model's own if it has one
   * @throws IllegalArgumentException if the cache is that of another kind of model, or on another
   *     device
   */
  public PatchableModel withPrefix(PrefixCache prefix) {
    requireOpen();
    PrefixPass.requireFits(prefix, config(), precision(), device());
    return owning(model.to(model.device()), graph(), options.outputSlice(), Optional.of(prefix));
  }

  /**
   * Keys and values of a plain pass over tokens that are to stand before prompts. If the model has
   * a prefix itself, the cache holds both, its own first.
   *
   * @param tokens {@code [1 or batch, prefix]}
   * @return to be closed by the caller
   * @throws IllegalArgumentException if the model has no attention, or the tokens do not fit
   */
  public PrefixCache prefixOf(Tensor tokens) {
    requireOpen();
    return passes.prefixOf(device -> tokens);
  }

  /** As {@link #prefixOf(Tensor)}, of tokens {@code [1 or batch][prefix]}. */
  public PrefixCache prefixOf(long[][] tokens) {
    requireOpen();
    return passes.prefixOf(device -> TensorArrays.of(tokens, "tokens", device));
  }

  /**
   * This model with another graph. It is another model, to be closed like this one: it shares the
   * weights and has the same prefix, with masks (at first 0) and modes of its own.
   *
   * @throws IllegalArgumentException if the options do not fit the model
   * @throws IllegalStateException if the model is closed
   */
  public PatchableModel withOptions(PatchableModelOptions other) {
    requireOpen();
    return owning(
        model.to(model.device()), other.graph(config()), other.outputSlice(), passes.prefix());
  }

  /** Returns what stands before all prompts; empty: nothing. */
  public Optional<PrefixCache> prefix() {
    return passes.prefix();
  }

  /**
   * Runs the model with the modes that are open on this thread.
   *
   * @param input tokens {@code [batch, seq]}; a micro model's floats {@code [batch, seq, d_model]}
   * @return logits of the output slice that the options say: {@code [batch, d_vocab]} or {@code
   *     [batch, positions, d_vocab]}
   */
  public Tensor forward(Tensor input) {
    return forward(ForwardRequest.of(input)).logits();
  }

  /**
   * Runs the model in a context, whatever modes are open.
   *
   * @param input tokens {@code [batch, seq]}; a micro model's floats {@code [batch, seq, d_model]}
   * @param context {@link PatchContext#NONE} for the plain model
   * @return logits of the output slice that the options say
   */
  public Tensor forward(Tensor input, PatchContext context) {
    return forward(ForwardRequest.of(input).withContext(context)).logits();
  }

  /** Runs the model as a request says. */
  public ForwardResult forward(ForwardRequest request) {
    requireOpen();
    return passes.forward(request, request.context().orElseGet(this::nextContext));
  }

  /**
   * Logits of the last position as plain Java arrays, with the modes that are open on this thread.
   *
   * @param tokens {@code [batch][seq]}
   * @return {@code [batch][d_vocab]}
   */
  public float[][] logits(long[][] tokens) {
    requireOpen();
    return passes.logits(tokens, nextContext());
  }

  /**
   * Logits of the last position as plain Java arrays, in a context.
   *
   * @param tokens {@code [batch][seq]}
   * @return {@code [batch][d_vocab]}
   */
  public float[][] logits(long[][] tokens, PatchContext context) {
    requireOpen();
    return passes.logits(tokens, context);
  }

  /**
   * Runs a plain and a patched pass of a size and drops their results. The first passes of a
   * process take memory from the system and start threads; a server that is about to take requests
   * does it for them.
   *
   * @throws IllegalArgumentException for a micro model, or for a size that the model does not take
   */
  public void warmUp(int batch, int seq) {
    long[][] prompts = new long[batch][seq];
    try (SourceActivations zeros = sourceAblations(prompts, BatchAblation.ZERO)) {
      logits(prompts, PatchContext.NONE);
      logits(prompts, PatchContext.of(zeros, Masks.uniform(graph(), 0.5)));
    }
  }

  /**
   * Returns what sources put out in a plain pass over a batch, ablated.
   *
   * @param input as for {@link #forward(Tensor)}
   * @return to be closed by the caller; never requires gradients
   */
  public SourceActivations sourceAblations(Tensor input, BatchAblation ablation) {
    return sourceAblations(ModelInput.of(input), ablation);
  }

  /** As {@link #sourceAblations(Tensor, BatchAblation)}; padding does not count in means. */
  public SourceActivations sourceAblations(ModelInput input, BatchAblation ablation) {
    requireOpen();
    return passes.ablations().of(ForwardRequest.of(input), ablation);
  }

  /** As {@link #sourceAblations(ModelInput, BatchAblation)}, of tokens {@code [batch][seq]}. */
  public SourceActivations sourceAblations(long[][] tokens, BatchAblation ablation) {
    requireOpen();
    return passes.ablations().of(ForwardRequest.of(tokens), ablation);
  }

  /**
   * The mean, at each token position, of what sources put out over all prompts of a data set.
   *
   * @param batches all equally long, shorter prompts being padded; they may differ in size
   * @param ablation which prompts count: clean, corrupt, or both
   * @return {@code [n_srcs, 1, seq, d_model]}, to be closed by the caller
   * @throws IllegalArgumentException if there is no batch
   */
  public SourceActivations sourceAblations(
      Iterable<? extends PromptPairBatch> batches, DatasetAblation ablation) {
    requireOpen();
    return passes.ablations().of(batches, ablation);
  }

  /**
   * As {@link #sourceAblations(Iterable, DatasetAblation)}, of inputs that are tensors already.
   *
   * @param clean batches of clean inputs; read only if they count
   * @param corrupt batches of corrupt inputs; read only if they count
   */
  public SourceActivations sourceAblations(
      Iterable<Tensor> clean, Iterable<Tensor> corrupt, DatasetAblation ablation) {
    requireOpen();
    return passes.ablations().of(clean, corrupt, ablation);
  }

  /** Begins a search's first baseline, with the logits that the options say. */
  public IncrementalRun incrementalRun(ModelInput input, PatchContext context) {
    return incrementalRun(input, context, options.outputSlice());
  }

  /**
   * Computes the first baseline, without gradients.
   *
   * @param context a patched one, without mask function or dropout, and with masks that all
   *     examples share
   * @param slice positions of the logits
   * @return to be closed by the caller
   * @throws IllegalArgumentException if something does not fit the model, or the context is another
   * @throws IllegalStateException if the model or the activations are closed
   */
  public IncrementalRun incrementalRun(ModelInput input, PatchContext context, OutputSlice slice) {
    Objects.requireNonNull(slice, "slice");
    requireOpen();
    return passes.incrementalRun(input, context, slice);
  }

  /**
   * The gradient of a loss with respect to the masks, in one native call: forward, loss and
   * backward. Masks need not be {@link MaskParameters}, and their own gradients are not touched.
   *
   * @param input tokens {@code [batch, seq]}
   * @param context a patched one; its dropout acts
   * @param loss on the logits of the last position, whatever the output slice
   */
  public MaskGradientResult maskGradient(Tensor input, PatchContext context, AnswerLoss loss) {
    return maskGradient(ModelInput.of(input), context, loss);
  }

  /** As {@link #maskGradient(Tensor, PatchContext, AnswerLoss)}. */
  public MaskGradientResult maskGradient(ModelInput input, PatchContext context, AnswerLoss loss) {
    requireOpen();
    return passes.gradients().of(ForwardRequest.of(input), context, loss);
  }

  /** As {@link #maskGradient(Tensor, PatchContext, AnswerLoss)}, of tokens {@code [batch][seq]}. */
  public MaskGradientResult maskGradient(long[][] tokens, PatchContext context, AnswerLoss loss) {
    requireOpen();
    return passes.gradients().of(ForwardRequest.of(tokens), context, loss);
  }

  /**
   * The same for masks that all have one value, within a limit of memory.
   *
   * @throws org.autocircuit.exception.NativeException if not even one prompt fits into the limit;
   *     it says what does
   */
  public MaskGradientResult maskGradient(EdgeAttribution attribution) {
    requireOpen();
    return passes.gradients().of(attribution);
  }

  /**
   * The gradient for masks of 0 at a point and for differences of the caller's choice.
   *
   * @throws IllegalArgumentException if something does not fit the model
   * @throws org.autocircuit.exception.NativeException if something is added at a hook point where
   *     the pass has no value {@code [batch, seq, d_model]}
   */
  public MaskGradientResult maskGradient(PointAttribution attribution) {
    requireOpen();
    return passes.gradients().of(attribution);
  }

  /**
   * Begins a plan of the memory that work on one batch will take; nothing of it is done.
   *
   * @param batch number of prompts
   * @param length tokens of each, without this model's prefix
   * @throws IllegalArgumentException if one of them is not positive
   */
  public MemoryPlan.Builder memoryPlan(int batch, int length) {
    requireOpen();
    return new MemoryPlan.Builder(
        passes.memory(), options.outputSlice(), precision(), batch, length);
  }

  /**
   * Keeps the model, its default masks and its prefix open for this thread, for work of several
   * calls. Calls of several passes, such as a data-set mean or a search, do so themselves.
   *
   * @return to be closed on this thread
   * @throws IllegalStateException if the model or its prefix is closed
   */
  @MustBeClosed
  public Use use() {
    return passes.use().and(() -> MODELS.handle(model).use()::close).and(this::useMasks);
  }

  /**
   * Goes backward from a loss: adds its gradients to those of the leaves that it came from, as
   * {@code loss.backward()} does, but is safe while the JVM exits, which waits for it.
   *
   * @param loss without dimensions, from passes of any models that were recorded
   * @throws org.autocircuit.exception.NativeException if the loss was not recorded or went backward
   *     before
   * @throws IllegalStateException if the JVM is shutting down
   */
  public static void backward(Tensor loss) {
    NativeMath.backward(Arguments.live("loss", loss));
  }

  /** Returns whether the model was closed. */
  public boolean isClosed() {
    return passes.isClosed();
  }

  /**
   * Gives the model back. Modes that are open on other threads are logged. Does nothing the second
   * time.
   *
   * @throws org.autocircuit.exception.ScopeOrderException if modes were open on this thread; they
   *     are closed, and so is the model
   */
  @Override
  public void close() {
    if (passes.close()) {
      model.close();
      closeModes();
    }
  }

  /** Returns what the model is called in messages. */
  @Override
  public String toString() {
    return name;
  }

  @Override
  protected void requireOpen() {
    passes.requireUsable();
  }

  @Override
  protected void check(SourceActivations activations, MaskValues masks) {
    passes.check(activations, masks);
  }

  /** Takes the model over, and closes it if it cannot be made patchable. */
  private static PatchableModel owning(
      Model model, ModelGraph graph, OutputSlice slice, Optional<PrefixCache> prefix) {
    String name = "PatchableModel of " + model + prefix.map(cache -> " with a " + cache).orElse("");
    Passes passes = null;
    boolean made = false;
    try {
      passes = new Passes(name, model, graph, slice, prefix);
      MaskParameters masks =
          MaskParameters.zeros(
              graph, model.precision().accumulation().scalarType(), model.device());
      PatchableModel patchable = new PatchableModel(name, model, slice, passes, masks);
      made = true;
      return patchable;
    } finally {
      if (!made) {
        if (passes != null) {
          passes.close();
        }
        model.close();
      }
    }
  }
}
