package org.autocircuit.examples;

import java.io.IOException;
import java.nio.file.Path;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.eval.RandomCircuits;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.Verification;
import org.autocircuit.prune.VerifiedScores;
import org.autocircuit.report.CircuitPicture;
import org.autocircuit.text.Circuit;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Verifies scores by patching, and compares their circuit with random ones. */
public class Baselines {
  public static void main(String[] args) throws IOException {
    PromptDataset found = ExampleModel.prompts().slice(0, 32);
    PromptDataset others = ExampleModel.prompts().slice(32, 64);
    try (TextModel model = ExampleModel.open()) {
      PruneScores estimates = model.discover(found);
      VerifiedScores verified =
          Verification.builder()
              .top(200)
              .build()
              .verify(model.model(), model.batches(found, 32), estimates);
      System.out.println(verified);
      EdgeSet best = verified.scores().circuit(150);
      EdgeSet sameSize = RandomCircuits.ofSize(model.graph(), 150, 1);
      EdgeSet sameDegrees = RandomCircuits.ofDegrees(best, 1);
      System.out.println("whole model  " + model.measure(others));
      System.out.println("estimated    " + model.measure(model.circuit(estimates, 150), others));
      System.out.println("verified     " + model.measure(Circuit.of(best), others));
      System.out.println("same degrees " + model.measure(Circuit.of(sameDegrees), others));
      System.out.println("same size    " + model.measure(Circuit.of(sameSize), others));
      CircuitPicture.of(model.graph(), verified.scores().top(16), "16 edges, verified by patching")
          .write(Path.of(args[0]));
    }
  }
}
