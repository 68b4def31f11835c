package org.autocircuit.examples;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.TreeMap;
import org.autocircuit.graph.Edge;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.report.CircuitPicture;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Patches every edge by itself, and draws those by which the answer's logit falls. */
public class PatchOneByOne {
  public static void main(String[] args) throws IOException {
    String clean = "When Mary and John went to the store, John gave a drink to";
    String corrupt = "When Mary and John went to the store, Mary gave a drink to";
    try (TextModel model = ExampleModel.open()) {
      long mary = model.answer(clean, " Mary");
      TreeMap<String, Double> falls = new TreeMap<>();
      for (Edge edge : model.graph().edges()) {
        var result = model.patch(clean, corrupt, List.of(edge.name()));
        double fall = result.clean().get(mary).logit() - result.patched().get(mary).logit();
        falls.put(edge.name(), fall);
      }
      PruneScores scores = PruneScores.ofCircuitNames(model.graph(), falls);
      scores.top(10).forEach(System.out::println);
      CircuitPicture.of(model.graph(), scores.top(10), "10 edges patched one by one")
          .write(Path.of(args[0]));
    }
  }
}
