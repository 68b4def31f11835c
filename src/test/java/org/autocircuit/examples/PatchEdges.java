package org.autocircuit.examples;

import java.util.List;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.Patched;
import org.autocircuit.text.TextModel;

/** Runs a prompt with two edges patched from a corrupt prompt, beside the model as it is. */
public class PatchEdges {
  public static void main(String[] args) {
    String clean = "When Mary and John went to the store, John gave a drink to";
    String corrupt = "When Mary and John went to the store, Mary gave a drink to";
    try (TextModel model = ExampleModel.open()) {
      List<String> edges = List.of("A3.0->Resid End", "A3.4->Resid End");
      Patched result = model.patch(clean, corrupt, edges);
      System.out.println("clean   " + result.clean().top(3));
      System.out.println("patched " + result.patched().top(3));
    }
  }
}
