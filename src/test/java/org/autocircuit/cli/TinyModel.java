package org.autocircuit.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import org.autocircuit.SentencePieceTokenizer;
import org.autocircuit.checkpoint.Checkpoints;
import org.autocircuit.checkpoint.FamilyFolders;
import org.autocircuit.checkpoint.Gpt2Weights;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPair;
import org.autocircuit.model.Activation;
import org.autocircuit.model.Biases;
import org.autocircuit.model.Model;
import org.autocircuit.model.Norm;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.tokenizer.Tokenizer;
import org.autocircuit.tokenizer.WordLevelVocabulary;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** A model folder with random weights and a vocabulary of a few words, and prompts for it. */
public final class TinyModel {

  private static final List<String> NAMES = List.of("Mary", "John", "Anna", "Paul");
  private static final List<String> WORDS =
      List.of("Mary", "John", "Anna", "Paul", "and", "went", ",", "gave", "it", "to");

  /** Names of which the model prefers the second. */
  private static final Set<String> SECOND =
      Set.of("Mary John", "Mary Anna", "John Mary", "John Anna", "Anna John", "Anna Paul");

  private TinyModel() {}

  /** Writes the folder: two layers of two heads. */
  public static Path write(Path folder) throws IOException {
    return write(folder, 1);
  }

  /** Writes the folder with logits so many times as great. */
  public static Path write(Path folder, double logitScale) throws IOException {
    WordLevelVocabulary vocabulary = new WordLevelVocabulary(WORDS);
    writeModel(
        folder,
        vocabulary.size(),
        weights ->
            List.of("ln_final.w", "ln_final.b")
                .forEach(name -> weights.get(name).mul_(new Scalar(logitScale))));
    vocabulary.write(folder, false);
    return folder;
  }

  /**
   * Writes such a folder with a SentencePiece-style tokenizer and a model that expects the same
   * token after every prompt.
   */
  public static Path writeExpecting(Path folder, String token) throws IOException {
    int tokens = SentencePieceTokenizer.write(folder);
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      long expected = tokenizer.id(token).orElseThrow();
      writeModel(
          folder,
          tokens,
          weights -> {
            weights.get("ln_final.w").zero_();
            weights.get("ln_final.b").zero_().narrow(0, 0, 1).fill_(new Scalar(1));
            weights.get("embed.W_E").select(0, expected).narrow(0, 0, 1).fill_(new Scalar(15));
          });
    }
    return folder;
  }

  private static void writeModel(Path folder, int tokens, Consumer<Map<String, Tensor>> change)
      throws IOException {
    TransformerConfig config =
        TransformerConfig.builder()
            .nLayers(2)
            .dModel(8)
            .nHeads(2)
            .dHead(4)
            .dMlp(16)
            .dVocab(tokens)
            .nCtx(16)
            .build();
    Files.createDirectories(folder);
    try (PointerScope scope = new PointerScope()) {
      torch.manual_seed(11);
      Map<String, Tensor> weights = new LinkedHashMap<>();
      for (Gpt2Weights.Weight weight : Gpt2Weights.of(config, true)) {
        Tensor random = torch.randn(weight.shapeArray());
        weights.put(weight.name(), random);
      }
      change.accept(weights);
      weights.put("unembed.W_U", weights.get("embed.W_E"));
      try (Model model = Model.of(config, weights)) {
        Checkpoints.save(model, folder);
      }
    }
  }

  /** Writes the folder of a Llama in fp64: two layers of four heads, two of which share keys. */
  public static Path writeLlama(Path folder) throws IOException {
    return writeLlama(folder, 16);
  }

  /** Writes such a folder of a model with a context of so many tokens. */
  static Path writeLlama(Path folder, int nCtx) throws IOException {
    WordLevelVocabulary vocabulary = new WordLevelVocabulary(WORDS);
    TransformerConfig config =
        TransformerConfig.builder()
            .nLayers(2)
            .dModel(16)
            .nHeads(4)
            .nKeyValueHeads(2)
            .dMlp(16)
            .dVocab(vocabulary.size())
            .nCtx(nCtx)
            .norm(Norm.rmsNorm(1e-5))
            .rotary(RotaryPositions.halves(4))
            .activation(Activation.SILU)
            .gatedMlp(true)
            .biases(Biases.NONE)
            .build();
    try (PointerScope scope = new PointerScope()) {
      FamilyFolders.writeRandom(config, folder);
    }
    vocabulary.write(folder, false);
    return folder;
  }

  /**
   * Pairs of nine tokens each, for every two names. Answers are those that the model of {@link
   * #write} prefers on clean prompts to corrupt ones, so that means of both differ clearly.
   */
  public static PromptDataset prompts() {
    return new PromptDataset(
        NAMES.stream()
            .flatMap(a -> NAMES.stream().filter(b -> !b.equals(a)).map(b -> pair(a, b)))
            .toList());
  }

  private static PromptPair pair(String a, String b) {
    boolean second = SECOND.contains(a + " " + b);
    return new PromptPair(
        a + " and " + b + " went, " + b + " gave it to",
        a + " and " + b + " went, " + a + " gave it to",
        List.of(second ? b : a),
        List.of(second ? a : b));
  }
}
