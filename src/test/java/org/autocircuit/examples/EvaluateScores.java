package org.autocircuit.examples;

import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.AnswerScale;
import org.autocircuit.eval.Evaluation;
import org.autocircuit.eval.FaithfulnessCurve;
import org.autocircuit.eval.PromptMetric;
import org.autocircuit.eval.RocCurve;
import org.autocircuit.known.KnownModel;
import org.autocircuit.known.KnownTask;
import org.autocircuit.model.Model;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.PruneScores;

/** Judges scores on a model whose circuit is known. */
public class EvaluateScores {
  public static void main(String[] args) {
    KnownModel known = KnownModel.of(KnownTask.INDUCTION, false);
    List<PromptPairBatch> prompts = known.batches(16);
    try (Model plain = known.model();
        PatchableModel model = PatchableModel.of(plain, PatchableModelOptions.defaults())) {
      PruneScores scores = MaskGradient.builder().build().pruneScores(model, prompts);
      System.out.println(RocCurve.of(scores, known.truth(model.graph())));
      Evaluation logits = Evaluation.of(PromptMetric.answerDifference(AnswerScale.LOGIT));
      System.out.print(FaithfulnessCurve.measure(logits, model, prompts, scores, true));
      System.out.println(logits.measure(model, prompts, known.truth(model.graph())));
    }
  }
}
