package org.autocircuit.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.autocircuit.model.AttentionScores;
import org.autocircuit.model.TransformerConfig;

/**
 * {@code mistral} (Jiang et al., 2023): Llama whose queries see a window of positions, itself
 * included, unless {@code sliding_window} is null.
 */
final class MistralFamily extends LlamaFamily {

  private static final int WINDOW = 4096;

  MistralFamily() {
    super("mistral", "MistralForCausalLM", false, new Usual(131_072, 8, 0));
  }

  @Override
  void readDifferences(ConfigReader reader, TransformerConfig.Builder builder) {
    reader.requireUnset("attention_bias", false);
    if (reader.isSet("sliding_window")) {
      builder.attentionScores(
          AttentionScores.PLAIN.withWindow(reader.positiveInt("sliding_window")));
    } else if (!reader.has("sliding_window")) {
      builder.attentionScores(AttentionScores.PLAIN.withWindow(WINDOW));
    }
  }

  @Override
  void write(TransformerConfig config, ObjectNode json) {
    super.write(config, json);
    json.putNull("sliding_window");
    config.attentionScores().window().ifPresent(window -> json.put("sliding_window", window));
  }
}
