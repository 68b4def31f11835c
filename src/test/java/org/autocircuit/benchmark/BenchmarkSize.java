package org.autocircuit.benchmark;

import org.autocircuit.model.TransformerConfig;

/** A model structure to measure with, its weights random. */
public enum BenchmarkSize {
  /** For the smoke test only. */
  TINY("tiny", 2, config(2, 16, 4, 101)),
  FOUR_LAYER("4-layer", 60, config(4, 256, 8, 5000)),
  GPT2_SMALL("gpt2-small", 20, config(12, 768, 12, 50257));

  static final int BATCH = 8;
  static final int SEQ = 16;

  private final String label;
  private final int rounds;
  private final TransformerConfig config;

  BenchmarkSize(String label, int rounds, TransformerConfig config) {
    this.label = label;
    this.rounds = rounds;
    this.config = config;
  }

  private static TransformerConfig config(int nLayers, int dModel, int nHeads, int dVocab) {
    return TransformerConfig.builder()
        .nLayers(nLayers)
        .dModel(dModel)
        .nHeads(nHeads)
        .dVocab(dVocab)
        .build();
  }

  /** What it is called in reports. */
  String label() {
    return label;
  }

  /** How many rounds are measured unless the command line says otherwise. */
  int rounds() {
    return rounds;
  }

  TransformerConfig config() {
    return config;
  }
}
