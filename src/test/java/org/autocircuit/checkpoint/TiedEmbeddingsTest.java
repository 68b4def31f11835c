package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.nio.file.Path;
import java.util.logging.Level;
import org.autocircuit.LogRecords;
import org.autocircuit.NativeScope;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.pass.OutputSlice;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Folders whose configuration ties the embedding, whatever tensors they hold. */
@ExtendWith(NativeScope.class)
class TiedEmbeddingsTest {

  private static final long[][] TOKENS = {{1, 2, 3, 4, 5, 6, 7}};

  @TempDir Path folder;

  private Model load() {
    return Checkpoints.load(folder, LoadOptions.DEFAULT.withPrecision(Precision.FLOAT64));
  }

  private static Tensor tokens() {
    return TensorArrays.of(TOKENS, "tokens", "cpu");
  }

  private static void assertLogits(Model model, Tensor expected) {
    try (PatchableModel patchable =
        PatchableModel.of(
            model, PatchableModelOptions.defaults().withOutputSlice(OutputSlice.ALL))) {
      assertThat(TensorArrays.doubles(patchable.forward(tokens())))
          .containsExactly(TensorArrays.doubles(expected), within(1e-9));
    }
  }

  /** The formulas read the stored one. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "gpt2 untied | lm_head.weight | transformer.wte.weight",
        "gpt_neox | embed_out.weight | gpt_neox.embed_in.weight",
        "gptj | lm_head.weight | transformer.wte.weight",
        "llama | lm_head.weight | model.embed_tokens.weight",
        "mistral | lm_head.weight | model.embed_tokens.weight",
        "qwen2 | lm_head.weight | model.embed_tokens.weight",
        "qwen3 | lm_head.weight | model.embed_tokens.weight",
        "gemma2 untied, no caps | lm_head.weight | model.embed_tokens.weight",
      })
  void anotherHeadThatIsStoredIsUsedWithAWarning(String name, String head, String embedding) {
    FamilyModel model = FamilyModels.named(name);
    model.config.put("tie_word_embeddings", true);
    FamilyFolders.write(model, folder, SafetensorsType.F64);
    try (LogRecords records = new LogRecords("org.autocircuit.model", Level.WARNING);
        Model loaded = load()) {
      records.assertOne(
          Level.WARNING, folder + "/model.safetensors: " + head + " differs from " + embedding);
      assertThat(loaded.tiedEmbedding()).isFalse();
      assertLogits(loaded, model.forward(tokens()));
      Checkpoints.save(loaded, folder);
    }
    assertThat(HuggingFaceConfig.read(folder).tiedEmbedding()).isFalse();
    try (Model meta = Checkpoints.load(folder, LoadOptions.DEFAULT.withDevice("meta"))) {
      assertThat(meta.tiedEmbedding()).isFalse();
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "gpt2 | lm_head.weight | transformer.wte.weight",
        "llama grouped | lm_head.weight | model.embed_tokens.weight",
        "gemma2 | lm_head.weight | model.embed_tokens.weight",
      })
  void oneTensorUnderBothNamesOrEitherIsTied(String name, String head, String embedding) {
    FamilyModel model = FamilyModels.named(name);
    Tensor expected = model.forward(tokens());
    model.tensors.put(head, model.tensor(embedding));
    FamilyFolders.write(model, folder, SafetensorsType.F64);
    try (LogRecords records = new LogRecords("org.autocircuit.model", Level.WARNING);
        Model loaded = load()) {
      records.assertNone();
      assertThat(loaded.tiedEmbedding()).isTrue();
      assertLogits(loaded, expected);
    }
    model.tensors.remove(embedding);
    FamilyFolders.write(model, folder, SafetensorsType.F64);
    try (Model loaded = load()) {
      assertThat(loaded.tiedEmbedding()).isTrue();
      assertLogits(loaded, expected);
    }
    model.tensors.remove(head);
    FamilyFolders.write(model, folder, SafetensorsType.F64);
    assertThatThrownBy(this::load)
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("tensor " + embedding + " is missing");
  }
}
