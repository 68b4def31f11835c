package org.autocircuit.examples;

import java.io.IOException;
import java.nio.file.Path;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.report.CircuitPicture;
import org.autocircuit.text.Circuit;
import org.autocircuit.text.TextModel;

/** Opens a folder with a model, and finds a circuit on prompts from a file. */
public class OwnModel {
  public static void main(String[] args) throws IOException {
    PromptDataset prompts = PromptDataset.read(Path.of(args[1]));
    try (TextModel model = TextModel.open(Path.of(args[0]))) {
      System.out.println(model.name() + ": " + model.graph().nEdges() + " edges");
      System.out.println(model.warnings("When Mary and Zebedee went to the store,"));
      System.out.println("whole model: " + model.measure(prompts));
      Circuit circuit = model.circuit(model.discover(prompts), 150);
      System.out.println(circuit + ": " + model.measure(circuit, prompts));
      CircuitPicture.of(model.graph(), circuit.top(16), "16 edges of a model of one's own")
          .write(Path.of(args[2]));
    }
  }
}
