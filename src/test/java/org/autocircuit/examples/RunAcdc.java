package org.autocircuit.examples;

import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.prune.Acdc;
import org.autocircuit.prune.AcdcResult;
import org.autocircuit.text.Circuit;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Finds a circuit by removing edges one by one (ACDC). */
public class RunAcdc {
  public static void main(String[] args) {
    PromptDataset prompts = ExampleModel.prompts().slice(0, 8);
    try (TextModel model = ExampleModel.open()) {
      PromptPairBatch batch = model.batches(prompts, 8).get(0);
      AcdcResult found = Acdc.builder().thresholds(1e-3, 0.01).build().search(model.model(), batch);
      System.out.println(found);
      Circuit circuit = Circuit.of(found.scores(), found.circuit(0.01));
      System.out.println(circuit + ": " + model.measure(circuit, prompts));
    }
  }
}
