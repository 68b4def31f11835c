package org.autocircuit.examples;

import java.util.List;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Keeps fewer and fewer edges of a model, and asks it the same question each time. */
public class FirstCircuit {
  public static void main(String[] args) {
    String clean = "When Mary and John went to the store, John gave a drink to";
    String corrupt = "When Mary and John went to the store, Mary gave a drink to";
    try (TextModel model = ExampleModel.open()) {
      System.out.println("clean      " + model.top(clean, 2));
      System.out.println("corrupt    " + model.top(corrupt, 2));
      PruneScores scores = model.discover(ExampleModel.prompts());
      for (int size : List.of(1519, 300, 150, 75, 0)) {
        var kept = model.run(model.circuit(scores, size), clean, corrupt).patched();
        System.out.println(size + " edges " + kept.top(2));
      }
    }
  }
}
