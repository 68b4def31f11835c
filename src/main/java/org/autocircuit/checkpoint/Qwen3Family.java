package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.autocircuit.model.AttentionScores;
import org.autocircuit.model.TransformerConfig;

/**
 * {@code qwen3} (Yang et al., 2025): Llama that norms each head's query and key before turning
 * them, with heads of a width of their own.
 */
final class Qwen3Family extends LlamaFamily {

  Qwen3Family() {
    super("qwen3", "Qwen3ForCausalLM", false, new Usual(32_768, 32, 128));
  }

  @Override
  void readDifferences(ConfigReader reader, TransformerConfig.Builder builder) {
    builder.attentionScores(WindowKeys.readQwen(reader, AttentionScores.PLAIN.withQkNorm()));
  }

  @Override
  void write(TransformerConfig config, ObjectNode json) {
    super.write(config, json);
    WindowKeys.writeQwen(config, json);
  }
}
