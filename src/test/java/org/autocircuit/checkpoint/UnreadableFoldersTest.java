package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.autocircuit.NativeScope;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.tokenizer.Tokenizer;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Folders that people have on their disks: one line says what they are and what to do. */
@ExtendWith(NativeScope.class)
class UnreadableFoldersTest {

  private static final String POINTER =
      "version https://git-lfs.github.com/spec/v1\noid sha256:b0a5\nsize 1056540\n";

  @TempDir Path folder;
  private FamilyModel model;
  private Path weights;

  @BeforeEach
  void write() {
    model = FamilyModels.named("llama grouped");
    FamilyFolders.write(model, folder, SafetensorsType.F32);
    weights = folder.resolve("model.safetensors");
  }

  private static void assertSays(ThrowingCallable call, String... parts) {
    assertThatThrownBy(call)
        .isInstanceOf(CheckpointException.class)
        .hasMessageContainingAll(parts)
        .satisfies(e -> assertThat(e.getMessage().lines()).hasSize(1));
  }

  private void rename(UnaryOperator<String> names) {
    Map<String, Tensor> renamed =
        model.tensors.entrySet().stream()
            .collect(Collectors.toMap(entry -> names.apply(entry.getKey()), Map.Entry::getValue));
    FamilyFolders.writeFile(renamed, weights, SafetensorsType.F32);
  }

  private void configure(java.util.function.Consumer<ObjectNode> change) {
    Path config = folder.resolve("config.json");
    ObjectNode json = JsonFiles.readObject(config);
    change.accept(json);
    JsonFiles.write(config, json);
  }

  @ParameterizedTest
  @ValueSource(strings = {"model.safetensors", "config.json", "model.safetensors.index.json"})
  void namesPointersOfGitLfs(String name) throws IOException {
    if (name.endsWith("index.json")) {
      Files.delete(weights);
    }
    Files.writeString(folder.resolve(name), POINTER);
    assertSays(
        () -> Checkpoints.load(folder),
        folder.resolve(name) + ": a git-lfs pointer, expected the file itself",
        "git lfs pull");
  }

  @Test
  void namesPointersInPlaceOfTokenizersAndGgufFiles() throws IOException {
    Path tokenizer = Files.writeString(folder.resolve("tokenizer.json"), POINTER);
    assertSays(() -> Tokenizer.load(folder), tokenizer + ": a git-lfs pointer");
    Path gguf = Files.writeString(folder.resolve("model.gguf"), POINTER);
    assertSays(() -> Checkpoints.load(gguf), gguf + ": a git-lfs pointer");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "pytorch_model.bin",
        "pytorch_model-00001-of-00002.bin",
        "model.pth",
        "tf_model.h5",
        "flax_model.msgpack",
        "pytorch_model.bin.index.json"
      })
  void namesWeightsOfOtherFormats(String name) throws IOException {
    Files.delete(weights);
    Files.createFile(folder.resolve(name));
    assertSays(() -> Checkpoints.load(folder), "found " + name, "save_pretrained");
  }

  @Test
  void namesShardsWithoutTheirIndex() throws IOException {
    Files.move(weights, folder.resolve("model-00001-of-00002.safetensors"));
    assertSays(
        () -> Checkpoints.load(folder),
        weights + ": no such file",
        "it has model-00001-of-00002.safetensors without model.safetensors.index.json");
  }

  @Test
  void namesTheSnapshotsOfACache(@TempDir Path home) throws IOException {
    Path snapshot =
        Files.createDirectories(home.resolve("hub/models--x--y/snapshots/607a30d783dfa663caf3"));
    Files.copy(folder.resolve("config.json"), snapshot.resolve("config.json"));
    for (Path above = snapshot.getParent(); above.startsWith(home); above = above.getParent()) {
      Path root = above;
      assertSays(
          () -> Checkpoints.load(root),
          root + ": no model, but the folder " + snapshot + " inside is one; name that");
    }
    Path other = Files.createDirectories(snapshot.resolveSibling("b5dd3c3d"));
    Files.copy(folder.resolve("config.json"), other.resolve("config.json"));
    assertSays(
        () -> Checkpoints.load(home),
        home + ": no model but a folder of models; name one of them: ",
        snapshot.toString(),
        other.toString());
  }

  @Test
  void namesTheOneModelInside(@TempDir Path above) throws IOException {
    Path inside = Files.createDirectory(above.resolve("inside"));
    Files.copy(folder.resolve("config.json"), inside.resolve("config.json"));
    assertSays(
        () -> Checkpoints.load(above),
        above + ": no model, but the folder " + inside + " inside is one; name that");
  }

  @ParameterizedTest
  @ValueSource(strings = {"consolidated.00.pth", "consolidated.safetensors"})
  void namesTheMakersOwnFormats(String name) throws IOException {
    Files.delete(weights);
    Files.createFile(folder.resolve(name));
    assertSays(() -> Checkpoints.load(folder), name, "expected");
    Files.writeString(folder.resolve("params.json"), "{\"dim\": 4096}");
    Files.delete(folder.resolve("config.json"));
    assertSays(
        () -> Checkpoints.load(folder),
        folder + ": a model in its maker's own format (" + name + ", params.json)",
        "convert_..._weights_to_hf.py");
  }

  @Test
  void listsWhatIsThereWithoutAConfiguration() throws IOException {
    Files.delete(folder.resolve("config.json"));
    assertSays(
        () -> Checkpoints.load(folder), "config.json: no such file", "it has model.safetensors");
    Files.createFile(folder.resolve("small.Q8_0.gguf"));
    assertSays(
        () -> Checkpoints.load(folder), "name the GGUF file itself: " + folder, "small.Q8_0.gguf");
  }

  @ParameterizedTest
  @CsvSource({
    "_orig_mod., torch.compile",
    "module., DataParallel",
    "base_model.model., merge_and_unload",
    "language_model., several modalities",
    "other., there is other.model.",
  })
  void namesPrefixes(String prefix, String advice) {
    rename(name -> prefix + name);
    assertSays(
        () -> Checkpoints.load(folder),
        "embed_tokens.weight is missing",
        "there is " + prefix + "model.embed_tokens.weight",
        advice);
    rename(name -> name.replaceFirst("^model\\.", "model." + prefix));
    assertSays(() -> Checkpoints.load(folder), "there is model." + prefix + "embed_tokens.weight");
  }

  @Test
  void namesWhatIsThereWhereNothingIsAlike() {
    rename(name -> name.replace("layers", "h").replace("embed_tokens", "wte"));
    assertSays(
        () -> Checkpoints.load(folder),
        "model.embed_tokens.weight is missing",
        "there are model.",
        "more");
  }

  @ParameterizedTest
  @CsvSource({
    "qweight, quantised",
    "weight_packed, quantised",
    "SCB, quantised",
    "base_layer.weight, merge_and_unload",
  })
  void namesWeightsThatAreStoredOtherwise(String end, String advice) {
    rename(
        name ->
            name.replace("layers.0.self_attn.q_proj.weight", "layers.0.self_attn.q_proj." + end));
    assertSays(
        () -> Checkpoints.load(folder),
        "model.layers.0.self_attn.q_proj.weight is missing",
        "there is model.layers.0.self_attn.q_proj." + end,
        advice);
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void namesAdapters(boolean withConfig) throws IOException {
    Files.delete(weights);
    if (!withConfig) {
      Files.delete(folder.resolve("config.json"));
    }
    Files.createFile(folder.resolve("adapter_model.safetensors"));
    Path adapter = folder.resolve("adapter_config.json");
    Files.writeString(adapter, "{\"base_model_name_or_path\": \"meta-llama/Llama-2-7b-hf\"}");
    assertSays(
        () -> Checkpoints.load(folder),
        folder + ": a LoRA adapter of meta-llama/Llama-2-7b-hf",
        "merge_and_unload");
    Files.writeString(adapter, "{");
    assertSays(() -> Checkpoints.load(folder), folder + ": a LoRA adapter (adapter_config.json)");
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void namesClassifiers(boolean tied) {
    configure(json -> json.put("tie_word_embeddings", tied));
    model.tensors.remove("lm_head.weight");
    model.tensors.put("score.weight", model.tensors.get("model.norm.weight"));
    rename(name -> name);
    assertSays(
        () -> Checkpoints.load(folder),
        "score.weight is the head of a classifier, expected a model");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "quantization_config|{'quant_method': 'gptq', 'bits': 4}|quantised by gptq",
        "quantization_config|{'quant_method': 'awq'}|quantised by awq",
        "quantization_config|{'quant_method': 'fp8'}|quantised by fp8",
        "quantization_config|{'quant_method': 'compressed-tensors'}|quantised by compressed-tensors",
        "quantization_config|{'load_in_4bit': true}|quantised by bitsandbytes",
        "compression_config|{'quant_method': 'compressed-tensors'}|by compressed-tensors",
        "quantization|{'group_size': 64, 'bits': 4}|the weights are quantised",
      })
  void namesTheMethodOfQuantisation(String key, String value, String part) throws IOException {
    ObjectNode object = (ObjectNode) StrictJson.MAPPER.readTree(value.replace('\'', '"'));
    configure(json -> json.set(key, object));
    assertSays(
        () -> Checkpoints.load(folder),
        folder.resolve("config.json") + ": " + key,
        part,
        "not supported");
  }

  @Test
  void namesTokenizersOfOtherFormats() throws IOException {
    Files.deleteIfExists(folder.resolve("tokenizer.json"));
    assertSays(
        () -> Tokenizer.load(folder), "tokenizer.json: no such file, expected the tokenizer");
    for (String name : List.of("vocab.json", "tokenizer.model")) {
      Files.createFile(folder.resolve(name));
      assertSays(
          () -> Tokenizer.load(folder),
          folder.resolve("tokenizer.json") + ": no such file; the folder has " + name,
          "AutoTokenizer.from_pretrained");
      Files.delete(folder.resolve(name));
    }
    Files.createFile(folder.resolve("tekken.json"));
    assertSays(
        () -> Tokenizer.load(folder),
        "the folder has tekken.json, Mistral's own format, which is not read: put");
  }

  @Test
  void ofASpellingThatComesTwiceTheLastIdCounts() throws IOException {
    Files.writeString(
        folder.resolve("tokenizer.json"),
        """
        {"pre_tokenizer": {"type": "Whitespace"},
         "model": {"type": "WordLevel", "unk_token": "?", "vocab":
           {"?": 0, "a": 1, "b": 2, "a": 3}}}
        """);
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.encode("a b", false)).containsExactly(3, 2);
      assertThat(tokenizer.show(new long[] {3, 1})).contains("'a'").contains("<token 1>");
    }
    Files.writeString(
        folder.resolve("tokenizer.json"),
        "{\"model\": {\"type\": \"WordLevel\", \"vocab\": {\"a\": 1, \"a\": 2}, \"vocab\": {}}}");
    assertSays(() -> Tokenizer.load(folder), "Duplicate field 'vocab'");
  }
}
