package org.autocircuit.examples;

import java.util.List;
import org.autocircuit.generate.Donor;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationPatch;
import org.autocircuit.generate.GenerationRequest;
import org.autocircuit.generate.Generator;
import org.autocircuit.patch.Masks;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;

/** Continues a prompt, with two edges patched from a corrupt one at every token. */
public class PatchedGeneration {
  public static void main(String[] args) {
    try (TextModel model = ExampleModel.open();
        Generator generator = model.generator().build()) {
      long[] clean = model.tokens("When Mary and John went to the store, John gave a drink to");
      long[] corrupt = model.tokens("When Mary and John went to the store, Mary gave a drink to");
      Masks masks = Masks.ofNames(model.graph(), List.of("A3.0->Resid End", "A3.4->Resid End"));
      GenerationPatch patch = GenerationPatch.resample(corrupt, masks, Donor.FOLLOWS);
      GenerationRequest request = GenerationRequest.of(clean).withPatch(patch);
      try (Generation answer = generator.submit(request)) {
        answer.forEach(token -> System.out.println(model.tokenizer().show(token.id())));
      }
    }
  }
}
