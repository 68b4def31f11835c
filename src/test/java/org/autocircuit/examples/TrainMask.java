package org.autocircuit.examples;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Locale;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.prune.MaskTraining;
import org.autocircuit.prune.SubnetworkProbing;
import org.autocircuit.report.CircuitPicture;
import org.autocircuit.text.Circuit;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Trains the masks of all edges at once, step by step. */
public class TrainMask {
  public static void main(String[] args) throws IOException {
    SubnetworkProbing probing = SubnetworkProbing.builder().regularizeLambda(1).seed(1).build();
    try (TextModel model = ExampleModel.open()) {
      PromptPairBatch batch = model.batches(ExampleModel.prompts().slice(0, 32), 32).get(0);
      try (SourceActivations patches =
              model.model().sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE);
          MaskTraining training = probing.begin(model.model(), patches)) {
        for (int step = 0; step <= 200; step++) {
          MaskTraining.Losses losses = training.step(batch);
          if (step % 50 == 0) {
            System.out.println(
                String.format(
                    Locale.ROOT,
                    "%s steps: %.2f nats, %.0f edges",
                    step,
                    losses.faithfulness(),
                    losses.edges()));
          }
        }
        Circuit circuit = Circuit.of(training.scores(), 76);
        double kept =
            model.measure(circuit, ExampleModel.prompts().slice(32, 64)).logitDifference();
        System.out.println(String.format(Locale.ROOT, "76 edges keep a lead of %.1f", kept));
        CircuitPicture.of(
                model.graph(), circuit.top(16), "16 edges with the greatest trained masks")
            .write(Path.of(args[0]));
      }
    }
  }
}
