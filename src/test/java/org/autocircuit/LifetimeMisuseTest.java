package org.autocircuit;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** Wrong weights, closed things and broken folders are Java exceptions that name what and where. */
@SuppressWarnings("MustBeClosedChecker") // modes that are refused before they open
class LifetimeMisuseTest {

  private static final TransformerConfig CONFIG = MisuseTable.CONFIG;

  @TempDir static Path folder;

  private final MisuseTable table = new MisuseTable();

  @TestFactory
  Stream<DynamicTest> everyMisuseIsNamed() {
    weights();
    closedThings();
    files();
    return table.tests();
  }

  private void weights() {
    table.illegal(
        "a missing weight",
        s -> withWeights(w -> w.remove("blocks.1.attn.b_O")),
        "blocks.1.attn.b_O",
        "missing");
    table.illegal(
        "a weight too many",
        s -> withWeights(w -> w.put("blocks.2.attn.b_O", s.floats(12))),
        "blocks.2.attn.b_O");
    table.illegal(
        "a weight of another shape",
        s -> withWeights(w -> w.put("ln_final.w", s.floats(13))),
        "ln_final.w",
        "[12]",
        "[13]");
    table.illegal(
        "weights of two precisions",
        s -> withWeights(w -> w.put("ln_final.w", s.floats(12).to(ScalarType.Double))),
        "ln_final.w",
        "Double");
    table.illegal(
        "weights that are whole numbers",
        s -> withWeights(w -> w.replaceAll((name, weight) -> weight.to(ScalarType.Int))),
        "Int");
    table.illegal(
        "weights of another model",
        s -> {
          try (Model model = Model.of(new MicroModelConfig(1), Map.of())) {
            throw new AssertionError(model);
          }
        },
        "blocks.0.weights");
    table.illegal(
        "an unknown device",
        s -> s.model.to("gpu"),
        "device: expected cpu, cuda, cuda:N",
        "got gpu");
    table.illegal("a device that is not there", s -> s.model.to("cuda:99"), "device cuda:99: ");
  }

  @SuppressWarnings("MustBeClosedChecker") // they are never opened
  private void closedThings() {
    table.state(
        "a closed model",
        s -> {
          s.model.close();
          s.model.forward(s.tokens);
        },
        "PatchableModel",
        "closed");
    table.state(
        "scopes of a closed model",
        s -> {
          s.model.close();
          s.model.patchMode(s.activations, s.masks);
        },
        "closed");
    table.state(
        "the masks of a closed model",
        s -> {
          MaskParameters masks = s.model.masks();
          s.model.close();
          masks.setAll(1);
        },
        "closed");
    table.state(
        "closed activations",
        s -> {
          s.activations.close();
          s.model.forward(s.tokens, s.context);
        },
        "SourceActivations",
        "closed");
    table.state(
        "closed masks",
        s -> {
          MaskParameters masks = s.model.newMaskParameters();
          masks.close();
          s.model.forward(s.tokens, PatchContext.of(s.activations, masks));
        },
        "MaskParameters",
        "closed");
    table.state(
        "a closed tensor",
        s -> {
          Tensor closed = RandomModels.tokens(CONFIG, 2, 4, 1);
          closed.close();
          s.model.forward(closed);
        },
        "tokens",
        "closed");
    table.state("gradients of nothing", s -> s.model.masks().gradients(), "no gradients");
  }

  private void files() {
    table.illegal(
        "a missing folder",
        s -> PatchableModel.open(folder.resolve("nowhere")),
        "nowhere",
        "config.json");
    table.illegal(
        "a missing weight file", s -> open("weights", Files::delete), "model.safetensors");
    table.illegal(
        "a truncated weight file",
        s -> open("short", file -> truncate(file, Files.size(file) - 1)),
        "model.safetensors");
    table.illegal(
        "a truncated header", s -> open("header", file -> truncate(file, 20)), "model.safetensors");
    table.illegal(
        "an empty weight file", s -> open("empty", file -> truncate(file, 0)), "model.safetensors");
    table.illegal(
        "a configuration without a size",
        s ->
            open(
                "config",
                file -> {
                  Path config = file.resolveSibling("config.json");
                  Files.writeString(config, Files.readString(config).replace("n_layer", "layers"));
                }),
        "config.json",
        "n_layer");
  }

  private interface Damage {
    void doTo(Path weightFile) throws IOException;
  }

  private static void truncate(Path file, long size) throws IOException {
    Files.write(file, Arrays.copyOf(Files.readAllBytes(file), (int) size));
  }

  private void open(String name, Damage damage) {
    Path saved = folder.resolve(name);
    TransformerConfig config = new TransformerConfig(1, 8, 2, 4, 8, 5, 4, 1e-5, "gelu_new");
    try (Model model = RandomModels.model(config, Precision.FLOAT32, 1)) {
      model.save(saved);
      damage.doTo(saved.resolve("model.safetensors"));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    PatchableModel.open(saved).close();
  }

  private static void withWeights(Consumer<Map<String, Tensor>> change) {
    Map<String, Tensor> weights =
        new LinkedHashMap<>(RandomModels.weights(CONFIG, ScalarType.Float, false, 1));
    change.accept(weights);
    try (Model model = Model.of(CONFIG, weights)) {
      throw new AssertionError("made " + model);
    }
  }
}
