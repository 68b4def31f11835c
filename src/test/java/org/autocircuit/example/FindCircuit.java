package org.autocircuit.example;

import java.nio.file.Path;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.data.PromptBatches;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.patch.PatchType;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.tokenizer.Tokenizer;

/** Scores the edges of a model, and runs a circuit of the best ones alone. */
public class FindCircuit {
  public static void main(String[] args) {
    Path folder = Path.of(args[0]);
    try (PatchableModel model = PatchableModel.open(folder, PatchableModelOptions.defaults());
        Tokenizer tokenizer = Tokenizer.load(folder)) {
      var batches = PromptBatches.of(PromptDataset.read(Path.of(args[1])), tokenizer, 16).batches();
      PruneScores scores = MaskGradient.builder().build().pruneScores(model, batches);
      scores.top(10).forEach(System.out::println);
      CircuitRuns.builder(scores)
          .sizes(List.of(5, 20))
          .patchType(PatchType.TREE_PATCH)
          .build()
          .measure(model, batches)
          .forEach((edges, measures) -> System.out.println(edges + " edges: " + measures));
    }
  }
}
