package org.autocircuit.benchmark;

import static org.autocircuit.attribution.AnswerLoss.AnswerFunction.AVG_DIFF;
import static org.autocircuit.attribution.AnswerLoss.GradFunction.LOGIT;

import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Random;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.BackwardRules;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.model.Model;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PlanPolicy;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.MaskTraining;
import org.autocircuit.prune.SubnetworkProbing;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/**
 * A model, prompts and patches, and one method for each thing that is measured. Every method frees
 * all native memory that it took. Confined to the thread that made it.
 */
final class Workload implements AutoCloseable {

  private static final int EDGES = 1000;
  private static final double SPARSE_SHARE = 0.01;

  private final Random random = new Random(1);
  private final BenchmarkSize size;
  private final Model model;
  private final PatchableModel patchable;
  private final Tensor clean;
  private final Tensor corrupt;
  private final RawForward raw;
  private final Masks zeros;
  private final Masks ones;
  private final EdgeSet edges;
  private final List<Edge> edgeList;
  private final List<String> edgeNames;
  private final AnswerLoss loss;
  private Tensor stream; // that enters the second block
  private SourceActivations activations; // made when first needed, not to weigh on a plain pass
  private PatchContext dense;
  private PatchContext sparse;
  private PatchContext perExample;
  private PatchableModel perPosition;
  private PatchContext perPositionDense;
  private Circuits circuits;
  private MaskTraining probing;
  private Attributions attributions;
  private SixteenBits sixteenBits;
  private EdgeSearches searches;
  private SourceActivations halfCorrupt;
  private EdgeSearches halfSharedSearches;

  Workload(BenchmarkSize size) {
    this.size = size;
    model = RandomWeights.model(size.config(), 1);
    patchable = PatchableModel.of(model, PatchableModelOptions.defaults());
    clean = size.tokens(random);
    corrupt = size.tokens(random);
    raw = new RawForward(size.config(), model.weights());
    zeros = Masks.uniform(graph(), 0);
    ones = Masks.uniform(graph(), 1);
    edges = randomEdges(EDGES);
    edgeList = List.copyOf(edges.edges());
    edgeNames = edgeList.stream().map(Edge::name).toList();
    loss = AnswerLoss.of(LOGIT, AVG_DIFF, answers(), answers());
  }

  FlopCount flops() {
    return FlopCount.of(size.config(), graph(), BenchmarkSize.BATCH, BenchmarkSize.SEQ);
  }

  /** All positions of all blocks, and the logits of the last one: what ratios are to. */
  Object plainForward() {
    try (PointerScope scope = new PointerScope()) {
      ForwardRequest request =
          ForwardRequest.of(clean).withPlanPolicy(PlanPolicy.REFERENCE).withGrad(false);
      return patchable.forward(request).logits().numel();
    }
  }

  Object plainForwardAtLast() {
    return forward(PatchContext.NONE);
  }

  /** The same pass written with the presets' operations: what the model's own is held against. */
  Object rawForward() {
    try (PointerScope scope = new PointerScope()) {
      return rawLogits().numel();
    }
  }

  /**
   * The gradient of the unpatched model's logits with respect to the residual stream that enters
   * its second block: passes that record gradients from tokens on would need those of weights.
   */
  Object plainBackward() {
    if (stream == null) {
      String hook = "blocks.1.hook_resid_pre";
      try (PointerScope scope = new PointerScope()) {
        ForwardResult read = patchable.forward(ForwardRequest.of(clean).withReads(hook));
        stream = read.read(hook).detach().requires_grad_(true);
        stream.retainReference();
        scope.detach(stream);
      }
    }
    try (PointerScope scope = new PointerScope()) {
      ForwardRequest request =
          ForwardRequest.startingAt(1, stream).withOutputSlice(OutputSlice.LAST_SEQ).withGrad(true);
      patchable.forward(request).logits().sum().backward();
      return stream.grad().numel();
    }
  }

  /** Goes to the caller's scope, with all that led to it. */
  Tensor rawLogits() {
    return raw.logits(clean);
  }

  /** Goes to the caller's scope. */
  Tensor plainLogits() {
    return patchable.forward(clean, PatchContext.NONE);
  }

  /** Every edge patched with a value of its own. */
  Object densePatchedForward() {
    if (dense == null) {
      dense = PatchContext.of(activations(), Masks.of(graph(), values(patchable)));
    }
    return forward(dense);
  }

  /** One edge in a hundred patched, all others left alone. */
  Object sparsePatchedForward() {
    if (sparse == null) {
      int n = Math.max(1, (int) Math.round(graph().nEdges() * SPARSE_SHARE));
      sparse = PatchContext.of(activations(), Masks.ofEdges(randomEdges(n)));
    }
    return forward(sparse);
  }

  /** Every edge patched with a value of its own for each position. */
  Object perPositionPatchedForward() {
    if (perPosition == null) {
      perPosition =
          PatchableModel.of(model, PatchableModelOptions.defaults().withSeqLen(BenchmarkSize.SEQ));
      perPositionDense =
          PatchContext.of(activations(), Masks.of(perPosition.graph(), values(perPosition)));
    }
    try (PointerScope scope = new PointerScope()) {
      return perPosition.forward(clean, perPositionDense).numel();
    }
  }

  /** Every edge patched with a value of its own for each example. */
  Object perExamplePatchedForward() {
    if (perExample == null) {
      double[][] values = new double[BenchmarkSize.BATCH][];
      Arrays.setAll(values, i -> values(patchable));
      perExample = PatchContext.of(activations(), Masks.perExample(graph(), values));
    }
    return forward(perExample);
  }

  Object noEdgePatchedForward() {
    return forward(PatchContext.of(activations(), zeros));
  }

  Object allEdgesPatchedForward() {
    return forward(PatchContext.of(activations(), ones));
  }

  /** A circuit of a random share of the edges, all others patched. */
  Object randomCircuit(double share) {
    return forward(circuits().random(share));
  }

  Object confinedCircuit() {
    return forward(circuits().confined());
  }

  /** Ten circuits of different sizes on one batch, from the run on the corrupt prompts on. */
  Object tenCircuits() {
    try (SourceActivations patch = patchable.sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
      for (PatchContext context : circuits().ten(patch)) {
        forward(context);
      }
      return patch;
    }
  }

  /** The gradient at one further mask value. */
  Object furtherMaskGradient() {
    try (PointerScope scope = new PointerScope()) {
      PatchContext context = PatchContext.of(activations(), Masks.uniform(graph(), 0.5));
      return patchable.maskGradient(clean, context, loss).gradient().numel();
    }
  }

  /**
   * Returns what edge attribution patching does for one batch, from the run on the corrupt prompts
   * on.
   */
  Object maskGradient() {
    return attribution(BackwardRules.DERIVATIVE);
  }

  /** The same by the rules of GIM. */
  Object gimGradient() {
    return attribution(BackwardRules.GIM);
  }

  private Object attribution(BackwardRules rules) {
    try (PointerScope scope = new PointerScope()) {
      EdgeAttribution attribution =
          EdgeAttribution.resampled(ModelInput.of(clean), ModelInput.of(corrupt), loss)
              .withRules(rules);
      return patchable.maskGradient(attribution).gradient().numel();
    }
  }

  /** Masks with noise for each prompt: forward, backward, Adam. */
  Object trainingStep() {
    if (probing == null) {
      probing = SubnetworkProbing.builder().build().begin(patchable, activations());
    }
    return probing.step(ModelInput.of(clean), loss::loss);
  }

  SixteenBits sixteenBits() {
    if (sixteenBits == null) {
      sixteenBits = new SixteenBits(size, clean, corrupt, random);
    }
    return sixteenBits;
  }

  Attributions attributions() {
    if (attributions == null) {
      attributions = new Attributions(patchable, clean, corrupt, answers(), activations());
    }
    return attributions;
  }

  EdgeSearches searches() {
    if (searches == null) {
      searches = new EdgeSearches(patchable, clean, activations(), loss, size.acdcThreshold());
    }
    return searches;
  }

  /** Searches on corrupt prompts that begin as the clean ones. */
  EdgeSearches halfSharedSearches() {
    if (halfSharedSearches == null) {
      try (PointerScope scope = new PointerScope()) {
        long half = clean.size(1) / 2;
        Tensor tokens = corrupt.clone();
        tokens.narrow(1, 0, half).copy_(clean.narrow(1, 0, half));
        halfCorrupt = patchable.sourceAblations(tokens, BatchAblation.RESAMPLE);
      }
      halfSharedSearches =
          new EdgeSearches(patchable, clean, halfCorrupt, loss, size.acdcThreshold());
    }
    return halfSharedSearches;
  }

  Object enterContextByEdge() {
    try (PatchMode mode = patchable.patchMode(activations(), edgeList)) {
      return mode;
    }
  }

  Object enterContextByName() {
    try (PatchMode mode = patchable.patchModeByName(activations(), edgeNames)) {
      return mode;
    }
  }

  /** The context that servers use: masks from names, then a context of them. */
  Object buildMasks() {
    return PatchContext.of(activations(), Masks.ofNames(graph(), edgeNames));
  }

  Object constructGraph() {
    return ModelGraph.of(size.config(), true, true);
  }

  Object makePatchable() {
    try (PatchableModel made = PatchableModel.of(model, PatchableModelOptions.defaults())) {
      return made.graph();
    }
  }

  private ModelGraph graph() {
    return patchable.graph();
  }

  private SourceActivations activations() {
    if (activations == null) {
      activations = patchable.sourceAblations(corrupt, BatchAblation.RESAMPLE);
    }
    return activations;
  }

  private Circuits circuits() {
    if (circuits == null) {
      circuits = new Circuits(graph(), activations());
    }
    return circuits;
  }

  private double[] values(PatchableModel of) {
    return random.doubles(of.graph().maskSize()).toArray();
  }

  private Object forward(PatchContext context) {
    try (PointerScope scope = new PointerScope()) {
      return patchable.forward(clean, context).numel();
    }
  }

  private EdgeSet randomEdges(int n) {
    BitSet indices = new BitSet();
    int wanted = Math.min(n, graph().nEdges());
    while (indices.cardinality() < wanted) {
      indices.set(random.nextInt(graph().nEdges()));
    }
    return EdgeSet.ofIndices(graph(), indices);
  }

  private long[][] answers() {
    long[][] answers = new long[BenchmarkSize.BATCH][];
    for (int i = 0; i < answers.length; i++) {
      answers[i] = new long[] {random.nextInt(size.config().dVocab())};
    }
    return answers;
  }

  @Override
  public void close() {
    if (probing != null) {
      probing.close();
    }
    if (attributions != null) {
      attributions.close();
    }
    if (sixteenBits != null) {
      sixteenBits.close();
    }
    if (stream != null) {
      stream.close();
    }
    if (activations != null) {
      activations.close();
    }
    if (halfCorrupt != null) {
      halfCorrupt.close();
    }
    if (perPosition != null) {
      perPosition.close();
    }
    raw.close();
    clean.close();
    corrupt.close();
    patchable.close();
    model.close();
  }
}
