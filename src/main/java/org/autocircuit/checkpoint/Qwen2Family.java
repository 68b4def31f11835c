package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.autocircuit.model.AttentionScores;
import org.autocircuit.model.Biases;
import org.autocircuit.model.TransformerConfig;

/**
 * {@code qwen2} (Yang et al., 2024; Qwen 1.5 to 2.5): Llama with biases of queries, keys and values
 * and, rarely, windows.
 */
final class Qwen2Family extends LlamaFamily {

  Qwen2Family() {
    super("qwen2", "Qwen2ForCausalLM", false, new Usual(32_768, 32, 0));
  }

  @Override
  void readBiases(ConfigReader reader, TransformerConfig.Builder builder) {
    builder.biases(Biases.QKV);
  }

  @Override
  void readDifferences(ConfigReader reader, TransformerConfig.Builder builder) {
    builder.attentionScores(WindowKeys.readQwen(reader, AttentionScores.PLAIN));
  }

  @Override
  void write(TransformerConfig config, ObjectNode json) {
    super.write(config, json);
    WindowKeys.writeQwen(config, json);
  }
}
