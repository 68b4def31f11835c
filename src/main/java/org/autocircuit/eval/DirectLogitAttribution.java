package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.graph.SrcNode;
import org.autocircuit.internal.BlockHooks;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Norm;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.ForwardResult;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.Progress;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.Use;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * Direct logit attribution: what the output of each source, of the embedding, each head and each
 * MLP, adds to the logit difference of the answers on the clean prompts by the direct path, past
 * all later blocks (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Wang
 * et al. 2023, 2211.00593).
 *
 * <p>The residual stream x that the final norm reads is the sum of the sources' outputs and a
 * constant c. With the norm's scale s as it is on the prompt, and d the unembedding of the answers
 * less that of the wrong answers, a source with output u adds
 *
 * <pre>(u − mean(u)) / s · (w ∘ d)</pre>
 *
 * where w is the norm's weight, and the mean is subtracted by a LayerNorm and not by an RMSNorm.
 * The same with c in u's place and the biases of norm and unembedding are the result's constant;
 * all together are the model's own logit difference exactly. Where logits have a soft cap (Gemma
 * 2), they are those before the cap.
 *
 * <p>{@link #eachPosition} asks of every position how much its stream speaks for the answers as the
 * next token there, although they come only after the last one.
 *
 * <pre>{@code
 * LogitContributions heads = DirectLogitAttribution.lastPosition().contributions(model, batches);
 * heads.at(0).forEach(System.out::println);
 * }</pre>
 *
 * <p>Immutable, safe to share between threads.
 */
public final class DirectLogitAttribution {

  private static final String SCALE = "ln_final.hook_scale";

  private final boolean eachPosition;

  private DirectLogitAttribution(boolean eachPosition) {
    this.eachPosition = eachPosition;
  }

  /** Of the last position, where the answers come. */
  public static DirectLogitAttribution lastPosition() {
    return new DirectLogitAttribution(false);
  }

  /** Of each position; prompts are equally long. */
  public static DirectLogitAttribution eachPosition() {
    return new DirectLogitAttribution(true);
  }

  /** Attributes, and tells nobody how far it is. */
  public LogitContributions contributions(
      PatchableModel model, Collection<? extends PromptPairBatch> batches) {
    return contributions(model, batches, Progress.NONE);
  }

  /**
   * Attributes the logit difference of clean prompts, with one pass for each batch. Scopes that are
   * open on the thread have no effect, and neither have graph and output slice of the model.
   *
   * @param model a transformer
   * @param batches at least one
   * @param progress is told of each batch
   * @throws IllegalArgumentException if there is no batch, the model is no transformer, or an
   *     answer is not in its vocabulary; for each position, if prompts differ in length
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN or infinite
   * @throws StoppedException if it was stopped; has the {@code LogitContributions} of the batches
   *     done
   */
  public LogitContributions contributions(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, Progress progress) {
    Objects.requireNonNull(progress, "progress");
    List<PromptPairBatch> list = List.copyOf(batches);
    BlockPrompts.check(model, list, eachPosition);
    if (model.graph().factorized()) {
      return contributionsOfSources(model, list, progress);
    }
    // In a residual graph the stream is a source, too, and has all that comes before it.
    try (PatchableModel factorized = model.withOptions(PatchableModelOptions.defaults())) {
      return contributionsOfSources(factorized, list, progress);
    }
  }

  private LogitContributions contributionsOfSources(
      PatchableModel model, List<PromptPairBatch> batches, Progress progress) {
    Sums sums = new Sums(model, eachPosition ? batches.get(0).seqLength() : 1);
    try (Use use = model.use()) {
      for (PromptPairBatch batch : batches) {
        Stop.check();
        sums.add(batch);
        progress.report(++sums.batches, batches.size());
      }
    } catch (StoppedException e) {
      throw sums.batches == 0 ? e : new StoppedException(e, sums.means());
    }
    return sums.means();
  }

  /** Adds up batches. */
  private final class Sums {

    private final PatchableModel model;
    private final TransformerConfig config;
    private final List<SrcNode> sources;
    private final int positions;
    private final double[] sum;
    private final double[] squares;
    private final double[] constants;
    private int prompts;
    private int batches;

    Sums(PatchableModel model, int positions) {
      this.model = model;
      this.positions = positions;
      config = (TransformerConfig) model.config();
      sources = model.graph().srcs();
      sum = new double[sources.size() * positions];
      squares = new double[sum.length];
      constants = new double[positions];
    }

    void add(PromptPairBatch batch) {
      String stream = BlockHooks.of(config.nLayers() - 1, BlockHooks.RESID_POST);
      try (CallScope scope = new CallScope()) {
        ForwardResult run =
            model.forward(
                ForwardRequest.of(batch.clean())
                    .withContext(PatchContext.NONE)
                    .withOutputSlice(eachPosition ? OutputSlice.ALL : OutputSlice.LAST_SEQ)
                    .withGrad(false)
                    .withReads(SCALE, stream)
                    .withSourceOutputs());
        model.precision().requireFinite("logits", run.logits());
        AnswerDirections answers = AnswerDirections.of(model, batch);
        Tensor scale = wide(run.read(SCALE)).reshape(batch.size(), positions);
        Tensor outputs = last(run.sourceOutputs().orElseThrow(), 2);
        Tensor rest = last(run.read(stream), 1).sub(outputs.sum(0));
        Tensor read = read(answers.directions());
        addRows(TensorArrays.doubles(along(outputs, read).div(scale)), batch.size());
        Tensor biases = normBias(answers.directions()).add(answers.bias()).unsqueeze(1);
        addConstants(TensorArrays.doubles(along(rest, read).div(scale).add(biases)));
      }
      prompts += batch.size();
    }

    /** The last positions, of all in that dimension, in the type in which the model adds up. */
    private Tensor last(Tensor tensor, int dimension) {
      return wide(tensor.narrow(dimension, tensor.size(dimension) - positions, positions));
    }

    /**
     * The directions that norm and unembedding read of each prompt's stream: {@code [batch,
     * d_model, 1]}.
     */
    private Tensor read(Tensor directions) {
      Norm norm = config.norm();
      Tensor read = directions;
      if (norm.weights()) {
        Tensor weights = wide(model.weights().get("ln_final.w"));
        read = read.mul(weights.add(new Scalar(norm.weightOffset())));
      }
      if (norm.kind() == Norm.Kind.LAYER_NORM) {
        // u less its mean, times the rest, is u times the rest less its mean.
        read = read.sub(read.mean(new long[] {1}, true, null));
      }
      return read.unsqueeze(2);
    }

    /** Of each prompt. */
    private Tensor normBias(Tensor directions) {
      return config.norm().hasBias()
          ? directions.matmul(wide(model.weights().get("ln_final.b")))
          : directions.select(1, 0).mul(new Scalar(0));
    }

    private Tensor along(Tensor stream, Tensor read) {
      return stream.matmul(read).squeeze(-1);
    }

    private Tensor wide(Tensor tensor) {
      return tensor.to(model.precision().accumulation().scalarType());
    }

    /** Rows: {@code [sources, batch, positions]}. */
    private void addRows(double[] rows, int batch) {
      for (int i = 0; i < rows.length; i++) {
        int cell = i / (batch * positions) * positions + i % positions;
        sum[cell] += rows[i];
        squares[cell] += rows[i] * rows[i];
      }
    }

    /** Rows: {@code [batch, positions]}. */
    private void addConstants(double[] rows) {
      for (int i = 0; i < rows.length; i++) {
        constants[i % positions] += rows[i];
      }
    }

    LogitContributions means() {
      List<List<LogitContributions.Contribution>> columns = new ArrayList<>();
      for (int position = 0; position < positions; position++) {
        List<LogitContributions.Contribution> column = new ArrayList<>();
        for (SrcNode source : sources) {
          int cell = source.srcIdx() * positions + position;
          double mean = sum[cell] / prompts;
          double deviations = Math.max(squares[cell] - prompts * mean * mean, 0);
          double error = prompts < 2 ? Double.NaN : Math.sqrt(deviations / (prompts - 1) / prompts);
          column.add(new LogitContributions.Contribution(source.name(), mean, error));
        }
        columns.add(column);
      }
      double[] means = Arrays.stream(constants).map(sum -> sum / prompts).toArray();
      return new LogitContributions(prompts, eachPosition, columns, means);
    }
  }
}
