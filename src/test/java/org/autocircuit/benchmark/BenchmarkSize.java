package org.autocircuit.benchmark;

import java.util.Random;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.pytorch.AbstractTensor;
import org.bytedeco.pytorch.Tensor;

/** A model structure to measure with, its weights random. */
public enum BenchmarkSize {
  /** For the smoke test only. */
  TINY("tiny", 1, 2, 2, 16, 4, 101, 1e-3),
  /** As large as the model that comes with the library. */
  EMBEDDED("embedded", 100, 40, 4, 96, 8, 233, 1e-4),
  FOUR_LAYER("4-layer", 100, 40, 4, 256, 8, 5000, 1e-4),
  GPT2_SMALL("gpt2-small", 2, 20, 12, 768, 12, 50257, 1e-5);

  static final int BATCH = 8;

  /** Tokens of a prompt; 16 unless the system property {@code autocircuit.seq} says otherwise. */
  static final int SEQ = Integer.getInteger("autocircuit.seq", 16);

  private final String label;
  private final int warmups;
  private final int rounds;
  private final int nLayers;
  private final int dModel;
  private final int nHeads;
  private final int dVocab;
  private final double acdcThreshold;

  BenchmarkSize(
      String label,
      int warmups,
      int rounds,
      int nLayers,
      int dModel,
      int nHeads,
      int dVocab,
      double acdcThreshold) {
    this.label = label;
    this.warmups = warmups;
    this.rounds = rounds;
    this.nLayers = nLayers;
    this.dModel = dModel;
    this.nHeads = nHeads;
    this.dVocab = dVocab;
    this.acdcThreshold = acdcThreshold;
  }

  /** Returns what it is called in reports. */
  String label() {
    return label;
  }

  /** Rounds before those: of short ones, until the JVM has compiled what runs often. */
  int warmups() {
    return warmups;
  }

  /**
   * Returns how many rounds are measured unless the command line says otherwise, where each has a
   * circuit of its own; half of them elsewhere.
   */
  int rounds() {
    return rounds;
  }

  /** Prompts of random tokens. */
  Tensor tokens(Random random) {
    long[] tokens = random.longs((long) BATCH * SEQ, 0, dVocab).toArray();
    return AbstractTensor.create(tokens, BATCH, SEQ);
  }

  /** At which ACDC leaves 5 to 10 % of the edges of the model with random weights. */
  double acdcThreshold() {
    return acdcThreshold;
  }

  TransformerConfig config() {
    return TransformerConfig.builder()
        .nLayers(nLayers)
        .dModel(dModel)
        .nHeads(nHeads)
        .dVocab(dVocab)
        .build();
  }
}
