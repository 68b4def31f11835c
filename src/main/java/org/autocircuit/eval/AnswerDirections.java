package org.autocircuit.eval;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.model.WeightShapes;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The directions that the unembedding reads each prompt's logit difference from: its answers' rows
 * less those of its wrong answers, as {@link AnswerMetrics#differences} averages them. Of the
 * innermost scope.
 *
 * @param directions {@code [batch, d_model]}, in the type in which the model adds up
 * @param bias {@code [batch]}
 */
record AnswerDirections(Tensor directions, Tensor bias) {

  /** The weight of a token in the difference of a prompt. */
  private record Part(int prompt, long token, double factor) {}

  /**
   * The directions of a batch.
   *
   * @throws IllegalArgumentException if an answer is not in the vocabulary
   */
  static AnswerDirections of(PatchableModel model, PromptPairBatch batch) {
    int vocabulary = ((TransformerConfig) model.config()).dVocab();
    List<Part> parts = new ArrayList<>();
    for (int prompt = 0; prompt < batch.size(); prompt++) {
      add(parts, prompt, batch.answers()[prompt], 1);
      add(parts, prompt, batch.wrongAnswers()[prompt], -1);
    }
    double[] factors = new double[batch.size() * parts.size()];
    for (int i = 0; i < parts.size(); i++) {
      Part part = parts.get(i);
      if (part.token < 0 || part.token >= vocabulary) {
        throw new IllegalArgumentException(
            "answer token %s of prompt %s is not in the vocabulary of %s tokens"
                .formatted(part.token, part.prompt, vocabulary));
      }
      factors[part.prompt * parts.size() + i] = part.factor;
    }
    ScalarType type = model.precision().accumulation().scalarType();
    Tensor ids =
        TensorArrays.of(
            parts.stream().mapToLong(Part::token).toArray(), model.device(), parts.size());
    Tensor each = TensorArrays.of(factors, type, model.device(), batch.size(), parts.size());
    Map<String, Tensor> weights = model.weights();
    Tensor rows = weights.get(WeightShapes.UNEMBEDDING).index_select(0, ids).to(type);
    Tensor bias = weights.get(WeightShapes.UNEMBEDDING_BIAS);
    return new AnswerDirections(
        each.matmul(rows),
        bias == null
            ? TensorArrays.zeros(type, model.device(), batch.size())
            : each.matmul(bias.index_select(0, ids).to(type)));
  }

  private static void add(List<Part> parts, int prompt, long[] answers, double sign) {
    long[] real =
        Arrays.stream(answers).takeWhile(token -> token != PromptPairBatch.NO_ANSWER).toArray();
    for (long token : real) {
      parts.add(new Part(prompt, token, sign / real.length));
    }
  }
}
