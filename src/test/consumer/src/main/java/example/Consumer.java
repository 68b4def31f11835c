package example;

import java.util.List;
import java.util.Map;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.mode.PatchMode;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Model;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** Runs and patches a model out of the packaged jars, where there is no C++ compiler. */
public final class Consumer {
  private Consumer() {}

  public static void main(String[] args) {
    try (PointerScope scope = new PointerScope()) {
      // Two blocks of two heads, each of which adds its input once: an input is tripled twice.
      Tensor ones = torch.ones(2, 2);
      Map<String, Tensor> weights = Map.of("blocks.0.weights", ones, "blocks.1.weights", ones);
      try (Model model = Model.of(new MicroModelConfig(2), weights);
          PatchableModel patchable = PatchableModel.of(model, PatchableModelOptions.defaults())) {
        Tensor input = torch.ones(1, 1, 2);
        expect(9, patchable.forward(input));
        try (SourceActivations zeros = patchable.sourceAblations(input, BatchAblation.ZERO);
            PatchMode mode = patchable.patchModeByName(zeros, List.of("B1.0->Resid End"))) {
          // Without one head of the second block: 3 + 3 of the other.
          expect(6, patchable.forward(input));
        }
      }
    }
    // With its tokenizer, and without anything that only the command line needs.
    try (TextModel model = ExampleModel.open()) {
      String prompt = "When Mary and John went to the store, John gave a drink to";
      String next = model.top(prompt, 1).get(0).spelling();
      if (!next.contains("Mary")) {
        throw new AssertionError("expected Mary, got " + next);
      }
    }
    System.out.println("consumer: ok");
  }

  private static void expect(double expected, Tensor output) {
    double actual = output.mean().item().toDouble();
    if (actual != expected) {
      throw new AssertionError("expected " + expected + ", got " + actual);
    }
  }
}
