package org.autocircuit.generate;

import java.util.ArrayList;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Access;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.NativeSequence;
import org.autocircuit.internal.NativeStepMasks;
import org.autocircuit.internal.StopFlag;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.internal.run.Passes;
import org.autocircuit.internal.run.StepAddition;
import org.autocircuit.internal.run.StepChunk;
import org.autocircuit.internal.run.Steps;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.bytedeco.javacpp.DoublePointer;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The steps of a patchable model. */
final class NativeStepEngine implements StepEngine {

  private static final Access.OfPatchableModel<PatchableModel, Passes> MODELS =
      Access.patchableModel(PatchableModel.class, Passes.class);

  private record Sequence(NativeSequence of) implements Handle {
    @Override
    public void close() {
      of.close();
    }
  }

  private record StepMasks(NativeStepMasks of) implements Handle {
    @Override
    public void close() {
      of.close();
    }
  }

  /** Source activations {@code [n_srcs, 1, positions or 1, d_model]}. */
  private record Constant(Tensor of) implements Handle {
    @Override
    public void close() {
      if (!of.isNull()) {
        of.releaseReference();
        of.setNull();
      }
    }
  }

  private final Passes passes;
  private final ModelGraph graph;
  private final Precision precision;
  private final String device;
  private final StopFlag stop = new StopFlag();

  private NativeStepEngine(PatchableModel model) {
    passes = MODELS.passes(model);
    graph = model.graph();
    precision = model.precision();
    device = model.device();
  }

  /**
   * The steps of a model, which stays the caller's.
   *
   * @throws IllegalArgumentException if it cannot generate
   */
  static NativeStepEngine of(PatchableModel model) {
    if (!(model.config() instanceof TransformerConfig config)) {
      throw new IllegalArgumentException("model: expected one that takes tokens, got " + model);
    }
    if (model.prefix().isPresent()) {
      throw new IllegalArgumentException(
          "model: expected one without prefix; put its tokens before those of each request");
    }
    if (config.autoencoders().isPresent() && config.autoencoders().get().seqLen().isPresent()) {
      throw new IllegalArgumentException(
          "model: expected autoencoders with the same latents at all positions, got some for %s"
              .formatted(config.autoencoders().get().seqLen().getAsInt()));
    }
    return new NativeStepEngine(model);
  }

  @Override
  public void check(SourceActivations activations, Masks masks) {
    passes.check(activations, masks);
  }

  @Override
  public Handle newSequence(int capacity, boolean patched) {
    return new Sequence(passes.steps().newSequence(capacity, patched));
  }

  @Override
  public Handle fork(Handle sequence, int length, int capacity) {
    return new Sequence(((Sequence) sequence).of().fork(length, capacity));
  }

  @Override
  public long sequenceBytes(int capacity, boolean patched) {
    return passes.steps().sequenceBytes(capacity, patched);
  }

  @Override
  public long maskBytes(Masks masks) {
    return bytes(graph.maskSize(), precision.accumulation());
  }

  @Override
  public Handle newMasks(Masks masks, MaskFn maskFn, long seed) {
    return new StepMasks(passes.steps().masks(masks, maskFn, 0, seed));
  }

  @Override
  public Handle newConstant(GenerationPatch.Source source, int position) {
    try (CallScope scope = new CallScope()) {
      return new Constant(scope.keep(new Tensor(constant(source, position))));
    }
  }

  private Tensor constant(GenerationPatch.Source source, int position) {
    SourceActivations activations;
    if (source instanceof GenerationPatch.Source.Constant constant) {
      activations = constant.activations();
    } else if (source instanceof GenerationPatch.Source.Positions positions) {
      activations = positions.activations();
    } else {
      int values = graph.srcs().size() * graph.config().dModel();
      return TensorArrays.of(
          new float[values],
          precision.scalarType(),
          device,
          graph.srcs().size(),
          1,
          1,
          graph.config().dModel());
    }
    try (Use use = activations.use()) {
      Tensor all = activations.tensor().narrow(1, 0, 1);
      return (position < 0 ? all : all.narrow(2, position, 1)).contiguous();
    }
  }

  /** Outputs, differences from them, and the widest things that a block makes. */
  @Override
  public long passBytesPerToken(boolean patched) {
    TransformerConfig config = (TransformerConfig) graph.config();
    long wide = Math.max(4L * config.dMlp(), 4L * config.nHeads() * config.dHead());
    long plain = bytes(wide + 8L * config.dModel(), precision);
    long rows = graph.srcs().size() + 3L * config.nHeads();
    return plain + (patched ? bytes(rows * config.dModel(), precision) : 0);
  }

  private static long bytes(long values, Precision precision) {
    return values
        * switch (precision) {
          case FLOAT64 -> 8;
          case FLOAT32 -> 4;
          case BFLOAT16, FLOAT16 -> 2;
        };
  }

  @Override
  public Output step(List<Chunk> chunks, List<String> reads) {
    CallScope scope = new CallScope();
    boolean handedOut = false;
    try {
      List<StepChunk> all = new ArrayList<>();
      List<StepAddition> added = new ArrayList<>();
      for (Chunk chunk : chunks) {
        chunk
            .added()
            .forEach(
                (hook, values) ->
                    added.add(
                        new StepAddition(
                            hook,
                            all.size(),
                            TensorArrays.of(
                                values, precision.scalarType(), device, 1, 1, values.length))));
        all.add(nativeChunk(chunk));
      }
      Steps.Result result = passes.steps().run(scope, all, added, reads, stop);
      if (result.stopped()) {
        return null;
      }
      Results results = new Results(scope, result);
      handedOut = true;
      return results;
    } finally {
      if (!handedOut) {
        scope.close();
      }
    }
  }

  private static StepChunk nativeChunk(Chunk chunk) {
    long[] tokens = new long[chunk.tokens().length];
    for (int i = 0; i < tokens.length; i++) {
      tokens[i] = chunk.tokens()[i];
    }
    return new StepChunk(
        ((Sequence) chunk.sequence()).of(),
        chunk.position(),
        tokens,
        chunk.wantsLogits(),
        chunk.wantsReads(),
        chunk.masks() == null ? null : ((StepMasks) chunk.masks()).of(),
        chunk.donor(),
        chunk.constant() == null ? null : ((Constant) chunk.constant()).of());
  }

  private static final class Results implements Output {
    private final CallScope scope;
    private final long vocabulary;
    private final DoublePointer logits;
    private final List<Tensor> reads;

    Results(CallScope scope, Steps.Result result) {
      this.scope = scope;
      Tensor all = result.logits();
      vocabulary = all.size(1);
      logits = all.to(new Device("cpu"), ScalarType.Double).contiguous().data_ptr_double();
      reads = result.reads();
    }

    @Override
    public void logits(int row, double[] into) {
      logits.position(row * vocabulary).get(into);
    }

    @Override
    public double logit(int row, int id) {
      return logits.position(0).get(row * vocabulary + id);
    }

    @Override
    public float[] read(int row, int hook) {
      return TensorArrays.floats(reads.get(hook).select(0, row));
    }

    @Override
    public void close() {
      scope.close();
    }
  }

  @Override
  public void stop(boolean value) {
    stop.set(value);
  }

  @Override
  public void close() {
    stop.close();
  }
}
