package org.autocircuit.checkpoint;

import java.io.IOException;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.autocircuit.model.Model;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.javacpp.PointerScope;

/** Folders and files of tiny models, for tests of other packages. */
public final class ModelSamples {

  private ModelSamples() {}

  /** A model of any kind with random weights in 64-bit floats. */
  public static Model random(TransformerConfig config) {
    try (PointerScope scope = new PointerScope()) {
      return Model.of(config, TransformerKindsTest.randomWeights(config));
    }
  }

  /** Structures that differ in blocks, norms, positions, biases and attention. */
  public static Stream<TransformerConfig> kinds() {
    return TransformerKindsTest.kinds();
  }

  /** Every family in its variants. */
  public static String[] names() {
    return FamilyModels.names();
  }

  /** Writes {@code config.json} and {@code model.safetensors}. */
  public static void writeFolder(String name, Path folder, SafetensorsType type) {
    try (PointerScope scope = new PointerScope()) {
      FamilyFolders.write(FamilyModels.named(name), folder, type);
    }
  }

  /** Writes {@code config.json}, two shards and their index. */
  public static void writeShards(String name, Path folder) {
    try (PointerScope scope = new PointerScope()) {
      FamilyFolders.writeSharded(FamilyModels.named(name), folder, SafetensorsType.F32, 2);
    }
  }

  /** A GGUF file of a folder of fp64 weights. */
  public static byte[] gguf(Path folder) throws IOException {
    try (PointerScope scope = new PointerScope()) {
      return GgufFiles.converted(folder, GgufFiles.F32).bytes();
    }
  }
}
