package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.List;
import org.autocircuit.model.TransformerConfig;

/** Every family of models that folders can hold. */
final class ModelFamilies {

  private static final List<ModelFamily> ALL =
      List.of(
          new Gpt2Family(),
          new GptNeoxFamily(),
          new GptJFamily(),
          new LlamaFamily(),
          new MistralFamily(),
          new Qwen2Family(),
          new Qwen3Family(),
          new Gemma2Family());

  private ModelFamilies() {}

  static List<String> modelTypes() {
    return ALL.stream().map(ModelFamily::modelType).toList();
  }

  /** The family that a file names, or an exception that lists them all. */
  static ModelFamily of(ConfigReader reader) {
    return named(reader.requireString("model_type", modelTypes()));
  }

  static ModelFamily named(String modelType) {
    return ALL.stream()
        .filter(family -> family.modelType().equals(modelType))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "model type must be one of %s, got %s".formatted(modelTypes(), modelType)));
  }

  /** The first family that can describe a model. */
  static ModelFamily fitting(TransformerConfig config) {
    return ALL.stream()
        .filter(family -> describes(family, config))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "none of Hugging Face's %s can describe %s".formatted(modelTypes(), config)));
  }

  /** Returns whether what a family writes is read back as the same model. */
  static boolean describes(ModelFamily family, TransformerConfig config) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    try {
      family.write(config, json);
      return family.read(new ConfigReader(Path.of("config.json"), json)).equals(config);
    } catch (IllegalArgumentException e) {
      return false;
    }
  }
}
