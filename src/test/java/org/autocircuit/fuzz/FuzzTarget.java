package org.autocircuit.fuzz;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.checkpoint.Checkpoints;
import org.autocircuit.checkpoint.ModelSamples;
import org.autocircuit.checkpoint.SafetensorsType;
import org.autocircuit.cli.TinyModel;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.exception.PromptDatasetException;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.prune.PruneScoresJson;
import org.autocircuit.prune.RandomPruneScores;
import org.autocircuit.text.Circuit;
import org.autocircuit.tokenizer.Tokenizer;

/** One kind of file: samples of it, who reads it, and how a file that is no good is refused. */
@SuppressWarnings("ImmutableEnumChecker") // lists that nobody changes
enum FuzzTarget {
  SAFETENSORS("model.safetensors", Mutator.Form.SAFETENSORS, CheckpointException.class) {
    @Override
    int samples() {
      return 2;
    }

    @Override
    void write(int sample, Path folder) {
      ModelSamples.writeFolder(
          "llama", folder, sample == 0 ? SafetensorsType.F32 : SafetensorsType.BF16);
    }

    @Override
    void read(Path file) {
      Checkpoints.load(file.getParent()).close();
    }
  },

  INDEX("model.safetensors.index.json", Mutator.Form.JSON, CheckpointException.class) {
    @Override
    void write(int sample, Path folder) {
      ModelSamples.writeShards("gpt2", folder);
    }

    @Override
    void read(Path file) {
      Checkpoints.load(file.getParent()).close();
    }
  },

  /** Of every family. What loads in spite of the damage also runs. */
  CONFIG("config.json", Mutator.Form.JSON, CheckpointException.class) {
    @Override
    int samples() {
      return ModelSamples.names().length;
    }

    @Override
    void write(int sample, Path folder) {
      ModelSamples.writeFolder(ModelSamples.names()[sample], folder, SafetensorsType.F32);
    }

    @Override
    void read(Path file) {
      try (PatchableModel model = PatchableModel.open(file.getParent())) {
        model.logits(new long[][] {{1}});
      }
    }
  },

  TOKENIZER("tokenizer.json", Mutator.Form.JSON, CheckpointException.class) {
    @Override
    int samples() {
      return TokenizerSamples.all().size();
    }

    @Override
    void write(int sample, Path folder) throws IOException {
      Files.writeString(folder.resolve("tokenizer.json"), TokenizerSamples.all().get(sample));
    }

    @Override
    void read(Path file) {
      useTokenizer(file.getParent());
    }
  },

  TOKENIZER_CONFIG("tokenizer_config.json", Mutator.Form.JSON, CheckpointException.class) {
    @Override
    void write(int sample, Path folder) throws IOException {
      TinyModel.write(folder);
      Files.writeString(
          folder.resolve("tokenizer_config.json"),
          "{\"bos_token\": {\"content\": \"Mary\"}, \"add_bos_token\": true, \"unk_token\": \"x\"}");
    }

    @Override
    void read(Path file) {
      useTokenizer(file.getParent());
    }
  },

  PROMPTS("prompts.json", Mutator.Form.JSON, PromptDatasetException.class) {
    @Override
    void write(int sample, Path folder) throws IOException {
      Files.writeString(
          folder.resolve("prompts.json"),
          """
          {"seq_labels": ["name", "verb"], "word_idxs": {"end": 2, "name": 0}, "prompts": [
           {"clean": "a b", "corrupt": "c \\u00e9", "answers": [" x", "y"], "wrong_answers": []},
           {"clean": "d", "corrupt": "e", "answers": ["f"], "wrong_answers": ["g", "h"]}]}
          """);
    }

    @Override
    void read(Path file) {
      PromptDataset.read(file);
    }
  },

  GGUF("model.gguf", Mutator.Form.BINARY, CheckpointException.class) {
    @Override
    int samples() {
      return 3;
    }

    @Override
    void write(int sample, Path folder) throws IOException {
      String name = List.of("llama grouped", "qwen2", "qwen3").get(sample);
      ModelSamples.writeFolder(name, folder, SafetensorsType.F64);
      Files.write(folder.resolve("model.gguf"), ModelSamples.gguf(folder));
    }

    @Override
    void read(Path file) {
      Checkpoints.load(file).close();
    }
  },

  PRUNE_SCORES(
      "scores.json", Mutator.Form.JSON, IOException.class, IllegalArgumentException.class) {
    @Override
    int samples() {
      return GRAPHS.size();
    }

    @Override
    void write(int sample, Path folder) throws IOException {
      PruneScoresJson.write(
          RandomPruneScores.of(GRAPHS.get(sample), 1), folder.resolve("scores.json"));
    }

    @Override
    void read(Path file) throws IOException {
      int sample = Integer.parseInt(file.getParent().getFileName().toString());
      PruneScoresJson.read(GRAPHS.get(sample), file).top(5);
    }
  },

  CIRCUIT("circuit.json", Mutator.Form.JSON, IOException.class, IllegalArgumentException.class) {
    @Override
    int samples() {
      return GRAPHS.size();
    }

    @Override
    void write(int sample, Path folder) throws IOException {
      Circuit.of(RandomPruneScores.of(GRAPHS.get(sample), 1), 9)
          .save(folder.resolve("circuit.json"));
    }

    @Override
    void read(Path file) throws IOException {
      int sample = Integer.parseInt(file.getParent().getFileName().toString());
      Circuit.load(GRAPHS.get(sample), file).sorted();
    }
  };

  private static final TransformerConfig SMALL =
      TransformerConfig.builder().nLayers(1).dModel(8).nHeads(2).dVocab(9).build();
  private static final List<ModelGraph> GRAPHS =
      List.of(ModelGraph.of(SMALL, true, true), ModelGraph.of(SMALL, true, true, 2));

  private final String fileName;
  private final Mutator.Form form;
  private final List<Class<?>> refusals;

  FuzzTarget(String fileName, Mutator.Form form, Class<?>... refusals) {
    this.fileName = fileName;
    this.form = form;
    this.refusals = List.of(refusals);
  }

  int samples() {
    return 1;
  }

  /** Writes a whole file, and what it needs beside it, into a folder named by the number. */
  abstract void write(int sample, Path folder) throws IOException;

  /** Reads a file, and uses what comes of it a little. */
  abstract void read(Path file) throws IOException;

  Path file(Path folder) {
    return folder.resolve(fileName);
  }

  Mutator.Form form() {
    return form;
  }

  /** Returns whether this is how the reader says, by its documentation, that a file is no good. */
  boolean isRefusal(Throwable thrown) {
    return refusals.stream().anyMatch(type -> type.isInstance(thrown))
        && thrown.getMessage() != null;
  }

  private static void useTokenizer(Path folder) {
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      for (String text : List.of("Mary and John, new é 12", "", "<s>\u0000\ud83d\ude00  \n")) {
        tokenizer.decode(tokenizer.encode(text));
        tokenizer.encodeWithSpecialTokens(text);
      }
    }
  }
}
