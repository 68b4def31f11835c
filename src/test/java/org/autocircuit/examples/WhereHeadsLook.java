package org.autocircuit.examples;

import java.util.Locale;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Prints how much of their attention heads of a circuit give to one word. */
public class WhereHeadsLook {
  private static final int MARY = 2;
  private static final int SECOND_JOHN = 10;
  private static final int LAST = 14;

  public static void main(String[] args) {
    String prompt = "When Mary and John went to the store, John gave a drink to";
    try (TextModel model = ExampleModel.open()) {
      print(model, prompt, "A0.1", SECOND_JOHN, MARY);
      print(model, prompt, "A0.4", SECOND_JOHN, SECOND_JOHN);
      print(model, prompt, "A3.0", LAST, SECOND_JOHN);
      print(model, prompt, "A3.4", LAST, SECOND_JOHN);
    }
  }

  private static void print(TextModel model, String prompt, String head, int from, int to) {
    double share = model.attention(prompt, head).get(0).get(from, to);
    System.out.println(String.format(Locale.ROOT, "%s at %s to %s: %.2f", head, from, to, share));
  }
}
