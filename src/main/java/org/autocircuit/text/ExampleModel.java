package org.autocircuit.text;

import org.autocircuit.PatchableModelOptions;
import org.autocircuit.data.IndirectObjectPrompts;
import org.autocircuit.data.PromptDataset;

/**
 * The small model that comes with the library, for first steps and tests. It has 4 layers of 8
 * heads, knows a few hundred English words, and completes sentences such as {@code When Mary and
 * John went to the store, John gave a drink to} with the name that is not repeated.
 *
 * <pre>{@code
 * try (TextModel model = ExampleModel.open()) {
 *   System.out.println(model.top("When Mary and John went to the store, John gave a drink to", 5));
 * }
 * }</pre>
 */
public final class ExampleModel {

  /** The model's name. */
  public static final String NAME = ExampleFolder.NAME;

  private ExampleModel() {}

  /**
   * Opens the model in 32-bit floats on the CPU, with edges that hold for all positions.
   *
   * @return to be closed by the caller
   */
  public static TextModel open() {
    return open(PatchableModelOptions.defaults());
  }

  /**
   * Opens the model with a graph of one's choice.
   *
   * @return to be closed by the caller
   */
  public static TextModel open(PatchableModelOptions options) {
    try (ExampleFolder folder = ExampleFolder.unpack()) {
      return TextModel.open(folder.path(), options);
    }
  }

  /**
   * Reads the prompts that come with the model: 64 pairs of 14 words. The corrupt prompt of a pair
   * has other names; the answer is the name that the clean one does not repeat.
   */
  public static PromptDataset prompts() {
    return IndirectObjectPrompts.builtIn();
  }
}
