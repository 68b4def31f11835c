package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assumptions.assumeThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.autocircuit.checkpoint.Checkpoints;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.MaskParameters;
import org.autocircuit.patch.PatchContext;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
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
  }

  @SuppressWarnings("MustBeClosedChecker") // they are never opened
  private void closedThings() {
    closedModel("a pass", s -> s.model.forward(s.tokens));
    closedModel("a pass in a context", s -> s.model.forward(s.tokens, PatchContext.NONE));
    closedModel("logits", s -> s.model.logits(new long[][] {{1}}));
    closedModel("ablations", s -> s.model.sourceAblations(s.tokens, BatchAblation.ZERO));
    closedModel("a mode", s -> s.model.patchMode(s.activations));
    closedModel("a mode with masks", s -> s.model.patchMode(s.activations, s.masks));
    closedModel("a mask function", s -> s.model.maskFnMode(MaskFn.NONE));
    closedModel("training", s -> s.model.trainMaskMode());
    closedModel("new masks", s -> s.model.newMaskParameters());
    closedModel("masks", s -> s.model.masks());
    closedModel("weights", s -> s.model.weights());
    closedModel("a device", s -> s.model.to("cpu"));
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
        "SourceActivations is closed");
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
    table.state(
        "a tensor of a closed scope",
        s -> {
          Tensor closed;
          try (PointerScope scope = new PointerScope()) {
            closed = RandomModels.tokens(CONFIG, 2, 4, 1);
          }
          s.model.forward(closed);
        },
        "tokens is closed");
    table.state("gradients of nothing", s -> s.model.masks().gradients(), "no gradients");
  }

  private void closedModel(String name, Consumer<MisuseTable.Subject> call) {
    table.state(
        name + " of a closed model",
        s -> {
          s.model.close();
          s.model.close();
          assertThat(s.model.graph()).isEqualTo(s.graph);
          call.accept(s);
        },
        "PatchableModel of Model",
        "is closed");
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

  @Test
  void aDeviceThatIsNotThereIsRefusedInALine() {
    try (PatchableModel model = TestModels.patchable()) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> model.to("nonsense"))
          .withMessage("device: expected cpu, cuda, cuda:N or meta, got nonsense");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> model.to("cuda:99"))
          .withMessageStartingWith("device cuda:99: ")
          .withMessageNotContainingAny("\n", "frame #");
      assumeThat(torch.cuda_is_available()).isFalse();
      assertThatIllegalArgumentException()
          .isThrownBy(() -> model.to("cuda"))
          .withMessageStartingWith("device cuda: this LibTorch is the CPU build; ")
          .withMessageContaining("linux-x86_64-gpu")
          .withMessageNotContainingAny("\n", "frame #");
    }
  }

  private interface Damage {
    void doTo(Path weightFile) throws IOException;
  }

  private static void truncate(Path file, long size) throws IOException {
    Files.write(file, Arrays.copyOf(Files.readAllBytes(file), (int) size));
  }

  private void open(String name, Damage damage) {
    Path saved = folder.resolve(name);
    TransformerConfig config = RandomModels.config(1, 8, 2, 4, 8, 5, 4);
    try (Model model = RandomModels.model(config, Precision.FLOAT32, 1)) {
      Checkpoints.save(model, saved);
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
