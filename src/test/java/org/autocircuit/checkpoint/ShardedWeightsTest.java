package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.autocircuit.NativeScope;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.model.Model;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@ExtendWith(NativeScope.class)
class ShardedWeightsTest {

  private static final String Q = "model.layers.1.self_attn.q_proj.weight";
  private static final String NORM = "model.norm.weight";

  @TempDir Path folder;
  private FamilyModel model;
  private Path index;

  @BeforeEach
  void write() {
    model = FamilyModels.named("llama grouped");
    FamilyFolders.writeSharded(model, folder, SafetensorsType.F32, 3);
    index = folder.resolve("model.safetensors.index.json");
  }

  private Path shard(int number) {
    return folder.resolve(FamilyFolders.shardName(number, 3));
  }

  private void assertRefused(String... parts) {
    assertThatThrownBy(() -> Checkpoints.load(folder))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContainingAll(parts);
  }

  private void change(Consumer<ObjectNode> change) {
    ObjectNode json = JsonFiles.readObject(index);
    change.accept((ObjectNode) json.get("weight_map"));
    JsonFiles.write(index, json);
  }

  @Test
  void theSingleFileCountsWhereThereAreBoth() throws IOException {
    FamilyFolders.write(model, folder, SafetensorsType.F32);
    Files.delete(shard(1));
    try (Model loaded = Checkpoints.load(folder)) {
      assertThat(loaded.weights()).containsKey("blocks.2.mlp.W_gate");
    }
  }

  @Test
  void aTensorThatTheIndexLeavesOutIsFound() {
    change(map -> map.remove(NORM));
    try (Model loaded = Checkpoints.load(folder)) {
      assertThat(loaded.weights()).containsKey("ln_final.w");
    }
  }

  @Test
  void namesAMissingShard() throws IOException {
    Files.delete(shard(1));
    assertRefused(
        index.toString(), "lists the shard model-00002-of-00003.safetensors", "is missing");
  }

  @Test
  void namesATruncatedShard() throws IOException {
    byte[] bytes = Files.readAllBytes(shard(2));
    Files.write(shard(2), java.util.Arrays.copyOf(bytes, bytes.length - 10));
    assertRefused(shard(2).toString());
  }

  @Test
  void namesATensorInTheWrongShard() {
    String right = JsonFiles.readObject(index).get("weight_map").get(Q).textValue();
    String wrong =
        right.equals(shard(0).getFileName().toString())
            ? shard(1).getFileName().toString()
            : shard(0).getFileName().toString();
    change(map -> map.put(Q, wrong));
    assertRefused("puts tensor %s into %s, but it is in %s".formatted(Q, wrong, right));
  }

  @Test
  void namesATensorThatIsInNoShard() {
    String first = shard(0).getFileName().toString();
    change(map -> map.put("model.extra", first));
    assertRefused("puts tensor model.extra into " + first + ", which has no such tensor");
  }

  @Test
  void namesATensorInTwoShards() {
    Map<String, Tensor> twice = Map.of(NORM, model.tensors.get(NORM));
    Path extra = folder.resolve("model-extra.safetensors");
    FamilyFolders.writeFile(twice, extra, SafetensorsType.F32);
    change(map -> map.put("another", "model-extra.safetensors"));
    assertRefused("tensor " + NORM + " is both in", "model-extra.safetensors");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "../model-00001-of-00003.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..",
        "weights.bin",
        "``",
      })
  void refusesToLeaveTheFolder(String name) {
    change(map -> map.put(Q, name));
    assertRefused(
        index.toString(),
        "weight_map of " + Q + " is \"" + name + "\"",
        "expected the name of a .safetensors file beside the index");
  }

  @Test
  void refusesWhatIsNoIndex() throws IOException {
    for (String text :
        List.of("", "[]", "{}", "{\"weight_map\": {}}", "{\"weight_map\": 7}", "{\"weight_map\"")) {
      Files.writeString(index, text);
      assertRefused(index.toString());
    }
    Files.writeString(index, "{\"weight_map\": {\"a\": 7}}");
    assertRefused("weight_map of a is 7");
  }

  @Test
  void namesTheFileOfATensorThatDoesNotFit() {
    model.tensors.put(Q, model.tensors.get(Q).t().contiguous().view(8, 32));
    FamilyFolders.writeSharded(model, folder, SafetensorsType.F32, 3);
    assertRefused("tensor " + Q + " has shape [8, 32], expected [16, 16]");
    model.tensors.remove(Q);
    FamilyFolders.writeSharded(model, folder, SafetensorsType.F32, 3);
    assertRefused(index.toString(), "tensor " + Q + " is missing");
    model.tensors.put(Q, model.tensors.get("model.layers.0.self_attn.q_proj.weight"));
    model.tensors.put("model.layers.0.self_attn.q_proj.bias", model.tensors.get(NORM));
    FamilyFolders.writeSharded(model, folder, SafetensorsType.F32, 3);
    assertRefused("has no place for model.layers.0.self_attn.q_proj.bias");
  }

  @Test
  void readsTheBareModelWithoutItsPrefix() {
    FamilyFolders.writeFile(
        model.tensors.entrySet().stream()
            .collect(
                java.util.stream.Collectors.toMap(
                    tensor -> tensor.getKey().replaceFirst("model\\.", ""), Map.Entry::getValue)),
        folder.resolve("model.safetensors"),
        SafetensorsType.F32);
    try (Model loaded = Checkpoints.load(folder)) {
      assertThat(loaded.tiedEmbedding()).isTrue();
    }
  }
}
