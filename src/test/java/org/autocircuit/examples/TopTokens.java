package org.autocircuit.examples;

import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Prints the most probable next tokens of a prompt. */
public class TopTokens {
  public static void main(String[] args) {
    String prompt = "When Mary and John went to the store, John gave a drink to";
    try (TextModel model = ExampleModel.open()) {
      model.top(prompt, 5).forEach(System.out::println);
    }
  }
}
