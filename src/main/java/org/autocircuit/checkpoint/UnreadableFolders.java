package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.UnreadableFiles;
import org.autocircuit.internal.VisibleText;

/** Says what folders are that look like models but cannot be read, and what to do. */
final class UnreadableFolders {

  private static final String ADAPTER = "adapter_config.json";
  private static final String TOKENIZER = "tokenizer.json";
  private static final String PARAMETERS = "params.json";
  private static final String MAKERS_OWN =
      "params\\.json|consolidated\\..*|tokenizer\\.model|tekken\\.json";

  private static final String CONVERT =
      "; convert it with Hugging Face's transformers: AutoModelForCausalLM.from_pretrained(\"%s\")"
          + ".save_pretrained(\"NEW_FOLDER\")";

  /** Wrappers that put a prefix before all names. */
  private static final List<Map.Entry<String, String>> WRAPPERS =
      List.of(
          Map.entry("_orig_mod.", "torch.compile's; save the model that was compiled"),
          Map.entry("module.", "DataParallel's; save the model inside"),
          Map.entry("base_model.model.", "PEFT's; save the model after merge_and_unload()"),
          Map.entry(
              "language_model.", "a model of several modalities'; save its language model alone"));

  private static final Set<String> HEADS =
      Set.of("score.weight", "classifier.weight", "qa_outputs.weight", "v_head.summary.weight");

  private UnreadableFolders() {}

  /** Returns what a folder without a configuration is. */
  static CheckpointException withoutConfig(Path folder) {
    Path config = folder.resolve(HuggingFaceConfig.FILE_NAME);
    if (UnreadableFiles.isDangling(config)) {
      return UnreadableFiles.missing(config);
    }
    List<String> names = UnreadableFiles.names(folder);
    if (names.contains(ADAPTER)) {
      return adapter(folder);
    }
    if (names.contains(PARAMETERS)) {
      return new CheckpointException(
          ("%s: a model in its maker's own format (%s), expected Hugging Face's, with %s and %s;"
                  + " name its folder in that format, or make it with its family's"
                  + " convert_..._weights_to_hf.py in Hugging Face's transformers")
              .formatted(
                  folder,
                  firstFew(names.stream().filter(name -> name.matches(MAKERS_OWN)).toList()),
                  HuggingFaceConfig.FILE_NAME,
                  WeightFiles.SINGLE));
    }
    List<Path> models = models(folder);
    if (models.size() == 1) {
      return new CheckpointException(
          "%s: no model, but the folder %s inside is one; name that"
              .formatted(folder, models.get(0)));
    }
    if (!models.isEmpty()) {
      return new CheckpointException(
          "%s: no model but a folder of models; name one of them: %s"
              .formatted(folder, firstFew(models.stream().map(Path::toString).toList())));
    }
    Optional<String> gguf = names.stream().filter(name -> name.endsWith(".gguf")).findFirst();
    if (gguf.isPresent()) {
      return new CheckpointException(
          "%s: no %s; name the GGUF file itself: %s"
              .formatted(folder, HuggingFaceConfig.FILE_NAME, folder.resolve(gguf.get())));
    }
    return new CheckpointException(
        "%s: no such file, expected a model folder with %s, %s and %s; it has %s"
            .formatted(
                config,
                HuggingFaceConfig.FILE_NAME,
                WeightFiles.SINGLE,
                TOKENIZER,
                names.isEmpty() ? "nothing" : firstFew(names)));
  }

  /** Returns what a folder without weights in safetensors files is. */
  static CheckpointException withoutWeights(Path folder) {
    for (String name : List.of(WeightFiles.SINGLE, WeightFiles.INDEX)) {
      if (UnreadableFiles.isDangling(folder.resolve(name))) {
        return UnreadableFiles.missing(folder.resolve(name));
      }
    }
    List<String> names = UnreadableFiles.names(folder);
    if (names.contains(ADAPTER)) {
      return adapter(folder);
    }
    Optional<String> own =
        names.stream().filter(name -> name.startsWith("consolidated.")).findFirst();
    if (own.isPresent()) {
      return new CheckpointException(
          "%s: found %s, its maker's own format, expected Hugging Face's %s; download that"
              .formatted(folder, own.get(), WeightFiles.SINGLE));
    }
    for (String end : List.of(".bin", ".pth", ".pt", ".bin.index.json", ".h5", ".msgpack")) {
      Optional<String> found =
          names.stream()
              .filter(name -> name.endsWith(end) && !name.startsWith("training_args"))
              .findFirst();
      if (found.isPresent()) {
        return new CheckpointException(
            "%s: found %s, but only %s and %s are supported"
                    .formatted(folder, found.get(), WeightFiles.SINGLE, WeightFiles.INDEX)
                + CONVERT.formatted(folder));
      }
    }
    List<String> others = names.stream().filter(name -> name.endsWith(".safetensors")).toList();
    String but = "";
    if (!others.isEmpty()) {
      but =
          "; it has %s without %s; is the download complete?"
              .formatted(firstFew(others), WeightFiles.INDEX);
    }
    return new CheckpointException(
        "%s: no such file, expected the weights%s"
            .formatted(folder.resolve(WeightFiles.SINGLE), but));
  }

  /** Why a tensor is missing. */
  static CheckpointException missing(
      WeightFiles files, String name, TensorSource.Part part, ModelFamily family) {
    String bare =
        name.startsWith(family.prefix()) ? name.substring(family.prefix().length()) : name;
    String message =
        "%s: tensor %s is missing, expected shape %s".formatted(files.path(), name, part.shape());
    Set<String> stored = files.tensors().keySet();
    Optional<String> head = stored.stream().filter(HEADS::contains).findFirst();
    if (name.equals(family.head()) && head.isPresent()) {
      return new CheckpointException(message + "; " + classifier(head.get()));
    }
    String stem = bare.replaceFirst("\\.weight$", ".");
    Optional<String> packed =
        Stream.of("qweight", "weight_packed", "weight.absmax", "SCB", "base_layer.weight")
            .flatMap(end -> stored.stream().filter(other -> other.endsWith(stem + end)))
            .findFirst();
    if (packed.isPresent()) {
      boolean adapter = packed.get().endsWith("base_layer.weight");
      return new CheckpointException(
          "%s; there is %s: %s"
              .formatted(
                  message,
                  packed.get(),
                  adapter
                      ? "save the model after PEFT's merge_and_unload()"
                      : "quantised checkpoints are not supported; name the folder of the model"
                          + " before quantisation"));
    }
    Optional<String> other = stored.stream().filter(tensor -> tensor.endsWith(bare)).findFirst();
    if (other.isEmpty()) {
      return new CheckpointException(message + "; there are " + firstFew(List.copyOf(stored)));
    }
    String before = other.get().substring(0, other.get().length() - bare.length());
    String why =
        WRAPPERS.stream()
            .filter(wrapper -> before.contains(wrapper.getKey()))
            .map(
                wrapper -> "; names with %s are %s".formatted(wrapper.getKey(), wrapper.getValue()))
            .findFirst()
            .orElse("");
    return new CheckpointException(message + "; there is " + other.get() + why);
  }

  /** Why tensors are there for which the model has no place. */
  static CheckpointException unexpected(Path file, String origin, Set<String> names) {
    String message =
        "%s: does not fit %s, which has no place for %s"
            .formatted(file, origin, firstFew(List.copyOf(names)));
    Optional<String> head = names.stream().filter(HEADS::contains).findFirst();
    return new CheckpointException(message + head.map(name -> "; " + classifier(name)).orElse(""));
  }

  /** Returns how weights were quantised, by the object that configurations have for it. */
  static String quantisation(JsonNode value) {
    String method = value.path("quant_method").asText("");
    if (method.isEmpty() && value.path("load_in_4bit").asBoolean()) {
      method = "bitsandbytes";
    }
    return ("no such key: the weights are quantised%s, and quantised checkpoints are not supported;"
            + " name the folder of the model before quantisation")
        .formatted(method.isEmpty() ? "" : " by " + VisibleText.of(method));
  }

  private static String classifier(String head) {
    return head + " is the head of a classifier, expected a model that continues text";
  }

  private static CheckpointException adapter(Path folder) {
    String base = "";
    try {
      JsonNode name = JsonFiles.readObject(folder.resolve(ADAPTER)).path("base_model_name_or_path");
      base = name.isTextual() ? " of " + VisibleText.of(name.textValue()) : "";
    } catch (CheckpointException e) {
      // It is an adapter, whatever it says of itself.
    }
    return new CheckpointException(
        ("%s: a LoRA adapter%s (%s), expected a whole model; merge it with PEFT's"
                + " merge_and_unload() and name the folder that save_pretrained() writes")
            .formatted(folder, base, ADAPTER));
  }

  /** Folders of models inside: snapshots of Hugging Face's cache, or plainly below. */
  private static List<Path> models(Path folder) {
    return Stream.of(folder, folder.resolve("hub"))
        .flatMap(root -> Stream.concat(Stream.of(root), folders(root)))
        .flatMap(
            model ->
                Stream.of(model, model.resolve("snapshots")).flatMap(UnreadableFolders::folders))
        .filter(model -> Files.exists(model.resolve(HuggingFaceConfig.FILE_NAME)))
        .distinct()
        .toList();
  }

  private static Stream<Path> folders(Path folder) {
    return UnreadableFiles.names(folder).stream().map(folder::resolve).filter(Files::isDirectory);
  }

  private static String firstFew(List<String> names) {
    String listed = String.join(", ", names.stream().limit(5).toList());
    return names.size() > 5 ? listed + " and %s more".formatted(names.size() - 5) : listed;
  }
}
