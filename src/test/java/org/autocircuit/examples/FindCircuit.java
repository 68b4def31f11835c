package org.autocircuit.examples;

import java.io.IOException;
import java.nio.file.Path;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.text.Circuit;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Finds a circuit with one half of the prompts, saves and loads it, and tests the other half. */
public class FindCircuit {
  public static void main(String[] args) throws IOException {
    Path file = Path.of(args[0]);
    PromptDataset prompts = ExampleModel.prompts();
    try (TextModel model = ExampleModel.open()) {
      PruneScores scores = model.discover(prompts.slice(0, 32));
      model.circuit(scores, 150).save(file);
      Circuit circuit = model.loadCircuit(file);
      circuit.top(5).forEach(System.out::println);
      System.out.println(circuit + ": " + model.measure(circuit, prompts.slice(32, 64)));
      System.out.println("whole model: " + model.measure(prompts.slice(32, 64)));
    }
  }
}
