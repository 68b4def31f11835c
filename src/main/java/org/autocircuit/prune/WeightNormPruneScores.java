package org.autocircuit.prune;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.DestNode;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcNode;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.Stop;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.Progress;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Scores edges by how much the weights of the two nodes could pass on: the Frobenius norm of the
 * product of the matrix that writes the source's output and the one that reads the destination's
 * input, the norm's weights included (composition in the sense of Elhage et al. 2021, "A
 * Mathematical Framework for Transformer Circuits", section on composition, not divided by the
 * norms of the two). A baseline that knows the model but no prompt: what beats random circuits only
 * as far as this does has learnt nothing of the task. Prompts are not looked at. In a graph with
 * positions an edge has the same score at each.
 *
 * <p>Immutable; safe to share between threads.
 */
public final class WeightNormPruneScores implements PruneAlgorithm {

  /** Makes the algorithm, which has no settings. */
  public WeightNormPruneScores() {}

  /**
   * Scores the edges of a model.
   *
   * @throws IllegalArgumentException if it is no transformer, has autoencoders, or its graph is not
   *     factorised, so that some nodes have no matrix of their own
   * @throws IllegalStateException if the model is closed
   * @throws org.autocircuit.exception.StoppedException if it was stopped
   */
  public static PruneScores of(PatchableModel model) {
    ModelGraph graph = model.graph();
    if (!(graph.config() instanceof TransformerConfig config)
        || config.autoencoders().isPresent()
        || !graph.factorized()) {
      throw new IllegalArgumentException(
          "weight norms need the factorised graph of a transformer without autoencoders, got a "
              + graph);
    }
    double[] scores = new double[graph.nEdges()];
    try (CallScope scope = new CallScope()) {
      Matrices matrices = new Matrices(graph, config, model.weights());
      List<Tensor> written = graph.srcs().stream().map(matrices::written).toList();
      Tensor all = torch.cat(new TensorVector(written.toArray(Tensor[]::new)));
      int[] first = new int[written.size() + 1];
      for (int src = 0; src < written.size(); src++) {
        first[src + 1] = first[src] + Math.toIntExact(written.get(src).size(0));
      }
      for (DestModule module : graph.destModules()) {
        Stop.check();
        Tensor sources =
            all.narrow(
                0, first[module.inStart()], first[module.inStop()] - first[module.inStart()]);
        for (int row = 0; row < module.nDests(); row++) {
          try (CallScope product = new CallScope()) {
            Tensor read = matrices.read(graph.dests().get(module.firstDest() + row));
            double[] squares = TensorArrays.doubles(sources.matmul(read).square().sum(1));
            for (int src = module.inStart(); src < module.inStop(); src++) {
              double sum = 0;
              for (int i = first[src]; i < first[src + 1]; i++) {
                sum += squares[i - first[module.inStart()]];
              }
              for (int position = 0; position < Math.max(module.seqLen(), 1); position++) {
                scores[module.index(position, row, src)] = Math.sqrt(sum);
              }
            }
          }
        }
      }
    }
    return PruneScores.wrap(graph, scores);
  }

  @Override
  public String name() {
    return "weight norm";
  }

  @Override
  public String unit() {
    return "none";
  }

  @Override
  public ScoreSign sign() {
    return ScoreSign.UNSIGNED;
  }

  /** As {@link #of}, in one step. */
  @Override
  public PruneScores pruneScores(
      PatchableModel model, Collection<? extends PromptPairBatch> batches, Progress progress) {
    PruneScores scores = of(model);
    progress.report(1, 1);
    return scores;
  }

  /** The matrices of nodes, in single precision at least. */
  private record Matrices(ModelGraph graph, TransformerConfig config, Map<String, Tensor> weights) {

    /** The weights that write a source's output, {@code [rows, d_model]}. */
    Tensor written(SrcNode src) {
      Tensor weight = weight(src.weight().orElseThrow());
      if (src.headIdx().isPresent()) {
        return weight.narrow(0, (long) src.headIdx().getAsInt() * config.dHead(), config.dHead());
      }
      boolean positions = src.srcIdx() == 0 && config.rotary().isEmpty();
      return fewRows(positions ? joined(0, weight, weight("pos_embed.W_pos")) : weight);
    }

    /** The weights that read a destination's input, {@code [d_model, columns]}, behind its norm. */
    Tensor read(DestNode dest) {
      String name = dest.weight().orElseThrow();
      String block = name.replaceFirst("(attn|mlp|unembed).*", "");
      if (name.contains("attn.")) {
        return normed(block + "ln1", heads(block, dest, name.substring(name.indexOf("W_") + 2)));
      }
      if (name.contains("mlp.")) {
        Tensor in = weight(name);
        return normed(
            block + "ln2", config.gatedMlp() ? joined(1, in, weight(block + "mlp.W_gate")) : in);
      }
      return fewRows(normed("ln_final", weight(name).t()).t()).t();
    }

    /** A head's queries, keys or values, or all three of a destination that is all three. */
    private Tensor heads(String block, DestNode dest, String parts) {
      Tensor all = weight(block + "attn.W_QKV");
      int head = dest.headIdx().orElseThrow();
      boolean own = parts.length() == 1 && !graph.ungroupedKeyValues();
      int keyValueHead = own ? head : head * config.nKeyValueHeads() / config.nHeads();
      List<Tensor> columns = new ArrayList<>();
      for (int i = 0; i < parts.length(); i++) {
        int at =
            switch (parts.charAt(i)) {
              case 'Q' -> head;
              case 'K' -> config.nHeads() + keyValueHead;
              default -> config.nHeads() + config.nKeyValueHeads() + keyValueHead;
            };
        columns.add(all.narrow(1, (long) at * config.dHead(), config.dHead()));
      }
      return joined(1, columns.toArray(Tensor[]::new));
    }

    private Tensor normed(String norm, Tensor matrix) {
      return config.norm().weights()
          ? matrix.mul(
              weight(norm + ".w").add(new Scalar(config.norm().weightOffset())).unsqueeze(1))
          : matrix;
    }

    /** A matrix of at most d_model rows whose products have the same norms: the R of its QR. */
    private static Tensor fewRows(Tensor matrix) {
      return matrix.size(0) > matrix.size(1) ? torch.linalg_qr(matrix, "r").get1() : matrix;
    }

    private Tensor weight(String name) {
      Tensor weight = weights.get(name).detach();
      return weight.scalar_type().intern() == ScalarType.Double
          ? weight
          : weight.to(ScalarType.Float);
    }

    private static Tensor joined(int dimension, Tensor... parts) {
      return torch.cat(new TensorVector(parts), dimension);
    }
  }
}
