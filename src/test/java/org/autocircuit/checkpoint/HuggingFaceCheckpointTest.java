package org.autocircuit.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Consumer;
import org.autocircuit.RandomModels;
import org.autocircuit.exception.CheckpointException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class HuggingFaceCheckpointTest {
  private static final HuggingFaceConfig TIED =
      HuggingFaceConfig.of(RandomModels.config(2, 8, 2, 4, 12, 11, 6));
  private static final HuggingFaceConfig UNTIED = TIED.withTiedEmbedding(false);

  @TempDir Path folder;

  /** The weights as they would be saved: saved name to shape. */
  private static Map<String, long[]> shapes(HuggingFaceConfig config) {
    Map<String, long[]> shapes = new LinkedHashMap<>();
    Gpt2Weights.of(config.transformer(), config.tiedEmbedding())
        .forEach(weight -> shapes.put(savedName(weight), weight.shapeArray()));
    return shapes;
  }

  private static String savedName(Gpt2Weights.Weight weight) {
    String name = weight.huggingFaceName();
    return name.equals("lm_head.weight") ? name : "transformer." + name;
  }

  private static StoredTensor place(HuggingFaceCheckpoint checkpoint, String name) {
    return checkpoint.weights().entrySet().stream()
        .filter(weight -> weight.getKey().name().equals(name))
        .findFirst()
        .orElseThrow()
        .getValue()
        .get(0);
  }

  private void write(HuggingFaceConfig config, Map<String, long[]> shapes, SafetensorsType type) {
    SafetensorsWriter writer = new SafetensorsWriter();
    shapes.forEach(
        (name, shape) -> {
          long size = Arrays.stream(shape).reduce(type.bytes(), (a, b) -> a * b);
          writer.add(name, type, shape, ByteBuffer.allocate((int) size));
        });
    writer.write(folder.resolve("model.safetensors"));
    config.write(folder);
  }

  private HuggingFaceCheckpoint changed(
      HuggingFaceConfig config, Consumer<Map<String, long[]>> change) {
    Map<String, long[]> shapes = shapes(config);
    change.accept(shapes);
    write(config, shapes, SafetensorsType.F32);
    return HuggingFaceCheckpoint.open(folder);
  }

  @Test
  void namesAndShapesAreTheContract() {
    Map<String, String> lines = new LinkedHashMap<>();
    Gpt2Weights.of(UNTIED.transformer(), false)
        .forEach(w -> lines.put(w.name(), w.huggingFaceName() + " " + w.shape()));
    assertThat(lines)
        .hasSize(2 + 2 * 12 + 3)
        .containsEntry("embed.W_E", "wte.weight [11, 8]")
        .containsEntry("pos_embed.W_pos", "wpe.weight [6, 8]")
        .containsEntry("blocks.1.ln1.w", "h.1.ln_1.weight [8]")
        .containsEntry("blocks.1.ln1.b", "h.1.ln_1.bias [8]")
        .containsEntry("blocks.0.attn.W_QKV", "h.0.attn.c_attn.weight [8, 24]")
        .containsEntry("blocks.0.attn.b_QKV", "h.0.attn.c_attn.bias [24]")
        .containsEntry("blocks.0.attn.W_O", "h.0.attn.c_proj.weight [8, 8]")
        .containsEntry("blocks.0.attn.b_O", "h.0.attn.c_proj.bias [8]")
        .containsEntry("blocks.0.ln2.w", "h.0.ln_2.weight [8]")
        .containsEntry("blocks.0.mlp.W_in", "h.0.mlp.c_fc.weight [8, 12]")
        .containsEntry("blocks.0.mlp.b_in", "h.0.mlp.c_fc.bias [12]")
        .containsEntry("blocks.0.mlp.W_out", "h.0.mlp.c_proj.weight [12, 8]")
        .containsEntry("blocks.0.mlp.b_out", "h.0.mlp.c_proj.bias [8]")
        .containsEntry("ln_final.w", "ln_f.weight [8]")
        .containsEntry("unembed.W_U", "lm_head.weight [11, 8]");
    assertThat(shapes(UNTIED)).containsKeys("transformer.wte.weight", "lm_head.weight");
  }

  @Test
  void whatIsSavedIsFoundAgain() throws IOException {
    for (HuggingFaceConfig config : new HuggingFaceConfig[] {TIED, UNTIED}) {
      Path model = folder.resolve("new/model");
      Map<String, Byte> marks = new LinkedHashMap<>();
      HuggingFaceCheckpoint.save(
          model,
          config,
          SafetensorsType.BF16,
          (weight, part) -> {
            byte mark = (byte) (marks.size() + 1);
            marks.put(weight.name(), mark);
            byte[] content = new byte[(int) (2 * weight.source().size())];
            Arrays.fill(content, mark);
            return channel -> channel.write(ByteBuffer.wrap(content));
          });

      HuggingFaceCheckpoint read = HuggingFaceCheckpoint.open(model);
      assertThat(read.config()).isEqualTo(config);
      assertThat(SafetensorsFile.open(model.resolve("model.safetensors")).metadata())
          .containsEntry("format", "pt");
      byte[] file = Files.readAllBytes(model.resolve("model.safetensors"));
      marks.forEach(
          (name, mark) -> {
            TensorEntry entry = ((WeightFiles.Stored) place(read, name)).entry();
            assertThat(entry.type()).isEqualTo(SafetensorsType.BF16);
            assertThat(file[(int) entry.begin()]).isEqualTo(mark);
            assertThat(file[(int) entry.end() - 1]).isEqualTo(mark);
          });
      assertThat(place(read, "unembed.W_U").equals(place(read, "embed.W_E")))
          .isEqualTo(config.tiedEmbedding());
    }
  }

  @Test
  void aFileThatShrinksBehindItsHeaderIsNamedWithTheTensor() throws IOException {
    write(TIED, shapes(TIED), SafetensorsType.F16);
    StoredTensor last = place(HuggingFaceCheckpoint.open(folder), "ln_final.b");
    Path file = folder.resolve("model.safetensors");
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
      channel.truncate(channel.size() / 2);
    }
    assertThatThrownBy(() -> last.read(LoadOptions.DEFAULT))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("tensor transformer.ln_f.bias cannot be loaded")
        .hasMessageContaining(file.toString());
  }

  @Test
  void acceptsNamesWithoutPrefixAndMaskBuffers() {
    Map<String, long[]> bare = new LinkedHashMap<>();
    shapes(TIED).forEach((name, shape) -> bare.put(name.replace("transformer.", ""), shape));
    bare.put("h.0.attn.bias", new long[] {1, 1, 6, 6});
    bare.put("h.1.attn.masked_bias", new long[0]);
    write(TIED, bare, SafetensorsType.F16);
    assertThat(place(HuggingFaceCheckpoint.open(folder), "blocks.1.ln2.b").name())
        .isEqualTo("h.1.ln_2.bias");
    assertThat(changed(TIED, shapes -> shapes.put("transformer.h.0.attn.bias", new long[] {9})))
        .isNotNull();
    assertThat(changed(TIED, shapes -> shapes.put("lm_head.weight", new long[] {11, 8})))
        .isNotNull();
  }

  private void assertRefused(
      HuggingFaceConfig config, Consumer<Map<String, long[]>> change, String... parts) {
    assertThatThrownBy(() -> changed(config, change))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining(folder.resolve("model.safetensors").toString())
        .hasMessageContainingAll(parts);
  }

  @Test
  void namesTheFirstTensorThatDoesNotFit() {
    assertRefused(
        TIED,
        shapes -> {
          shapes.remove("transformer.h.0.mlp.c_fc.bias");
          shapes.remove("transformer.h.1.mlp.c_fc.bias");
        },
        "tensor transformer.h.0.mlp.c_fc.bias is missing",
        "[12]");
    assertRefused(
        TIED,
        shapes -> shapes.put("transformer.wpe.weight", new long[] {8, 6}),
        "transformer.wpe.weight has shape [8, 6], expected [6, 8]");
    assertRefused(
        TIED,
        shapes -> shapes.put("transformer.h.2.ln_1.weight", new long[] {8}),
        "no place for transformer.h.2.ln_1.weight");
    assertRefused(UNTIED, shapes -> shapes.remove("lm_head.weight"), "lm_head.weight is missing");
    assertRefused(
        TIED, shapes -> shapes.put("score.weight", new long[] {1}), "no place for score.weight");
    assertRefused(TIED, Map::clear, "has 0 tensors, too few for the 2 blocks");
  }

  @Test
  void refusesIntegerWeightsAndHugeClaims() {
    write(TIED, shapes(TIED), SafetensorsType.I64);
    assertThatThrownBy(() -> HuggingFaceCheckpoint.open(folder))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("is I64");
    HuggingFaceConfig.of(TIED.transformer().toBuilder().nLayers(Integer.MAX_VALUE).build())
        .write(folder);
    assertThatThrownBy(() -> HuggingFaceCheckpoint.open(folder))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("too few");
  }

  @Test
  void namesMissingAndForeignFiles() throws IOException {
    assertThatThrownBy(() -> HuggingFaceCheckpoint.open(folder.resolve("none")))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("no such folder");
    TIED.write(folder);
    assertThatThrownBy(() -> HuggingFaceCheckpoint.open(folder))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("model.safetensors: no such file");
    Files.createFile(folder.resolve("pytorch_model.bin"));
    assertThatThrownBy(() -> HuggingFaceCheckpoint.open(folder))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("found pytorch_model.bin");
  }
}
