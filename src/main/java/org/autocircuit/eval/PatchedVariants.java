package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.LongConsumer;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.Tensor;

/**
 * The passes of {@link ActivationPatching} over the prompts of one batch: both runs as they are,
 * then for each block variants of the run in which one activation at one position is the other's.
 */
final class PatchedVariants {

  private final ActivationPatching patching;
  private final TransformerConfig config;
  private final PromptPairBatch prompts;
  private final int perBlock;
  private final int positions;
  private final int firstPosition;
  private final int perPass;
  private long done;

  PatchedVariants(ActivationPatching patching, TransformerConfig config, PromptPairBatch prompts) {
    this.patching = patching;
    this.config = config;
    this.prompts = prompts;
    perBlock = patching.site().perBlock(config);
    positions = patching.eachPosition() ? prompts.seqLength() : 1;
    // Before the prompts differ, both runs have the same activations.
    firstPosition = patching.eachPosition() ? prompts.divergeIndex() : 0;
    perPass = Math.max(1, patching.batchSize() / prompts.size());
  }

  /** Both runs as they are; tensors of the scope of the batch. */
  private static final class Runs {
    private double[] run;
    private double[] other;
    private Optional<Tensor> mask;

    /** The stream that enters each block of the run. */
    private List<Tensor> streams;

    /** The other's activations less the run's, in the order of the map's rows. */
    private List<Tensor> toOther;
  }

  /** The number of passes. */
  long passes() {
    int cells = perBlock * (positions - firstPosition);
    return 2 + (long) config.nLayers() * ((cells + perPass - 1) / perPass);
  }

  /** Adds the prompts to sums; tells how many passes are done. */
  void run(PatchableModel model, PatchMapSums sums, LongConsumer progress) {
    double[][] patched = new double[config.nLayers() * perBlock * positions][];
    Runs runs;
    try (CallScope scope = new CallScope()) {
      runs = runs(model, progress);
      for (int block = 0; block < config.nLayers(); block++) {
        int[] cells = cells(block);
        for (int begin = 0; begin < cells.length; begin += perPass) {
          int[] some = Arrays.copyOfRange(cells, begin, Math.min(begin + perPass, cells.length));
          List<double[]> values = variants(model, runs, block, some);
          for (int i = 0; i < some.length; i++) {
            patched[some[i]] = values.get(i);
          }
          progress.accept(++done);
        }
      }
    }
    sums.add(runs.run, runs.other, patched);
  }

  /** The cells of a block that can change anything: row of the map × positions + position. */
  private int[] cells(int block) {
    return IntStream.range(block * perBlock, (block + 1) * perBlock)
        .flatMap(row -> IntStream.range(firstPosition, positions).map(p -> row * positions + p))
        .toArray();
  }

  private Runs runs(PatchableModel model, LongConsumer progress) {
    boolean onClean = patching.direction() == PatchDirection.NOISING;
    List<String> streams = new ArrayList<>();
    List<String> activations = new ArrayList<>();
    for (int block = 0; block < config.nLayers(); block++) {
      streams.add(ActivationSite.RESIDUAL.hook(block));
      activations.add(patching.site().read(block));
    }
    List<String> reads = new ArrayList<>(streams);
    reads.addAll(activations);
    ModelInput input = input(model, onClean ? prompts.clean() : prompts.corrupt());
    ModelInput otherInput = input(model, onClean ? prompts.corrupt() : prompts.clean());
    ForwardResult run = plain(model, ForwardRequest.of(input).withReads(reads));
    progress.accept(++done);
    ForwardResult other = plain(model, ForwardRequest.of(otherInput).withReads(activations));
    progress.accept(++done);
    Runs runs = new Runs();
    runs.run = values(model, run.logits()).get(0);
    runs.other = values(model, other.logits()).get(0);
    runs.mask = input.attentionMask();
    runs.streams = streams.stream().map(run::read).toList();
    runs.toOther =
        activations.stream()
            .map(hook -> other.read(hook).sub_(run.read(hook)))
            .flatMap(this::each)
            .toList();
    return runs;
  }

  /** The activations of a block, each {@code [batch, seq, d_model]}. */
  private Stream<Tensor> each(Tensor ofBlock) {
    return patching.site() == ActivationSite.HEADS
        ? IntStream.range(0, perBlock).mapToObj(head -> ofBlock.select(2, head))
        : Stream.of(ofBlock);
  }

  private static ModelInput input(PatchableModel model, long[][] tokens) {
    return ModelInput.ofPrompts(tokens, model.device());
  }

  private static ForwardResult plain(PatchableModel model, ForwardRequest request) {
    Stop.check();
    return model.forward(
        request
            .withContext(PatchContext.NONE)
            .withOutputSlice(OutputSlice.LAST_SEQ)
            .withGrad(false));
  }

  /** The metric of each variant, one for each prompt. */
  private List<double[]> variants(PatchableModel model, Runs runs, int block, int[] cells) {
    try (CallScope scope = new CallScope()) {
      Tensor stream = repeated(runs.streams.get(block), cells.length);
      ForwardRequest request =
          ForwardRequest.startingAt(block, stream)
              .withAdded(patching.site().hook(block), added(model, runs, cells));
      if (runs.mask.isPresent()) {
        request = request.withAttentionMask(repeated(runs.mask.get(), cells.length));
      }
      return values(model, plain(model, request).logits());
    }
  }

  /** Returns what makes the run's activation the other's in each variant, and elsewhere nothing. */
  private Tensor added(PatchableModel model, Runs runs, int[] cells) {
    int seq = prompts.seqLength();
    Tensor added =
        TensorArrays.zeros(
            model.precision().scalarType(),
            model.device(),
            (long) cells.length * prompts.size(),
            seq,
            config.dModel());
    for (int i = 0; i < cells.length; i++) {
      boolean one = patching.eachPosition();
      int first = one ? cells[i] % positions : 0;
      int length = one ? 1 : seq;
      added
          .narrow(0, (long) i * prompts.size(), prompts.size())
          .narrow(1, first, length)
          .copy_(runs.toOther.get(cells[i] / positions).narrow(1, first, length));
    }
    return added;
  }

  /** The same rows several times, one after another. */
  private static Tensor repeated(Tensor rows, int times) {
    long[] each = new long[(int) rows.dim()];
    Arrays.fill(each, 1);
    each[0] = times;
    return rows.repeat(each);
  }

  private List<double[]> values(PatchableModel model, Tensor logits) {
    model.precision().requireFinite("logits", logits);
    List<double[]> values = new ArrayList<>();
    for (long first = 0; first < logits.size(0); first += prompts.size()) {
      Logits some = Logits.of(logits.narrow(0, first, prompts.size()));
      values.add(patching.metric().values(some, prompts));
    }
    return values;
  }
}
