package org.autocircuit.examples;

import org.autocircuit.data.PromptDataset;
import org.autocircuit.text.Circuit;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Finds the edges that matter most, and the token positions at which they do. */
public class PerPosition {
  public static void main(String[] args) {
    PromptDataset prompts = ExampleModel.prompts();
    try (TextModel whole = ExampleModel.open();
        TextModel model = whole.perPosition(prompts)) {
      Circuit circuit = model.circuit(model.discover(prompts), 1000);
      circuit.top(5).forEach(System.out::println);
      System.out.println(circuit + ": " + model.measure(circuit, prompts));
    }
  }
}
