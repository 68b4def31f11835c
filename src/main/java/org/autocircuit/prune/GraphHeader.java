package org.autocircuit.prune;

import com.fasterxml.jackson.core.JsonGenerator;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.model.TransformerConfig;

/** The properties of a graph that a file of scores records, by name. */
record GraphHeader(Map<String, Object> properties) {

  /** Properties that the model's options decide. */
  private static final Set<String> OPTIONS =
      Set.of("factorized", "separate_qkv", "ungrouped_key_values", "seq_len");

  static GraphHeader of(ModelGraph graph) {
    ModelConfig config = graph.config();
    Map<String, Object> properties = new LinkedHashMap<>();
    properties.put("model", config instanceof MicroModelConfig ? "micro" : "transformer");
    properties.put("n_layers", config.nLayers());
    properties.put("n_heads", config.nHeads());
    properties.put("d_model", config.dModel());
    if (config instanceof TransformerConfig transformer) {
      if (transformer.blockKind() != BlockKind.SEQUENTIAL) {
        properties.put("blocks", transformer.blockKind().name().toLowerCase(Locale.ROOT));
      }
      if (transformer.groupedQueries()) {
        properties.put("n_key_value_heads", transformer.nKeyValueHeads());
        properties.put("ungrouped_key_values", graph.ungroupedKeyValues());
      }
      if (transformer.autoencoders().isPresent()) {
        AutoencoderConfig autoencoders = transformer.autoencoders().get();
        properties.put("autoencoder_latents", autoencoders.latents().toString());
        properties.put("autoencoder_positions", orNull(autoencoders.seqLen()));
        properties.put("autoencoder_errors", autoencoders.errorNodes());
      }
    }
    properties.put("factorized", graph.factorized());
    properties.put("separate_qkv", graph.separateQkv());
    properties.put("seq_len", orNull(graph.seqLen()));
    properties.put("n_edges", graph.nEdges());
    return new GraphHeader(properties);
  }

  private static Integer orNull(OptionalInt value) {
    return value.isPresent() ? value.getAsInt() : null;
  }

  void write(JsonGenerator json) throws IOException {
    json.writeObjectFieldStart("graph");
    for (Map.Entry<String, Object> property : properties.entrySet()) {
      json.writeObjectField(property.getKey(), property.getValue());
    }
    json.writeEndObject();
  }

  /**
   * Throws if a file's properties are not those of this graph.
   *
   * @param content says what it has of its graph
   */
  void check(Map<String, Object> found, String source, String content) {
    properties.forEach(
        (name, expected) -> {
          if (!found.containsKey(name)) {
            throw new IllegalArgumentException(
                "%s does not say the graph's '%s'".formatted(source, name));
          }
          if (!String.valueOf(expected).equals(String.valueOf(found.get(name)))) {
            throw new IllegalArgumentException(
                "%s %s another graph: expected %s %s, found %s%s"
                    .formatted(
                        source,
                        content,
                        name,
                        expected,
                        found.get(name) == null ? "none" : found.get(name),
                        OPTIONS.contains(name) ? "; open the model with the same options" : ""));
          }
        });
  }
}
