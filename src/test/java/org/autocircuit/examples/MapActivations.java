package org.autocircuit.examples;

import java.util.List;
import org.autocircuit.data.IndirectObjectPrompts;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.ActivationPatching;
import org.autocircuit.eval.ActivationSite;
import org.autocircuit.eval.DirectLogitAttribution;
import org.autocircuit.eval.PatchMap;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Asks which heads carry the answer, by two measures, and where one of them looks. */
public class MapActivations {
  public static void main(String[] args) {
    String prompt = "When Mary and John went to the store, John gave a drink to";
    try (TextModel model = ExampleModel.open()) {
      List<PromptPairBatch> prompts = model.batches(IndirectObjectPrompts.builtIn(), 32);
      PatchMap map = ActivationPatching.of(ActivationSite.HEADS).map(model.model(), prompts);
      System.out.println(map.conditions());
      System.out.println(map.share("A3.0", 14) + " " + map.share("A3.1", 14));
      var direct = DirectLogitAttribution.lastPosition().contributions(model.model(), prompts);
      direct.at(0).stream().filter(source -> source.mean() > 1).forEach(System.out::println);
      System.out.println(model.attention(prompt, "A3.0").get(0).get(14, 10));
    }
  }
}
