package org.autocircuit.data;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The JSON form of a {@link PromptDataset}; complaints name the place in the file. */
final class PromptDatasetJson {
  private static final JsonMapper JSON =
      JsonMapper.builder()
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .build();

  private final String file;

  private PromptDatasetJson(String file) {
    this.file = file;
  }

  static PromptDataset read(InputStream stream, String file) {
    JsonNode root;
    try {
      root = JSON.readTree(stream);
    } catch (JsonProcessingException e) {
      String place = e.getLocation() == null ? "" : " at line " + e.getLocation().getLineNr();
      throw new PromptDatasetException(
          "%s: not valid JSON%s: %s"
              .formatted(file, place, e.getOriginalMessage().lines().findFirst().orElse("")),
          e);
    } catch (IOException e) {
      throw new PromptDatasetException("%s: cannot be read: %s".formatted(file, e), e);
    }
    return new PromptDatasetJson(file).dataset(root);
  }

  private PromptDataset dataset(JsonNode root) {
    if (!root.isObject()) {
      throw bad("the document", root, "an object with prompts");
    }
    JsonNode prompts = root.get("prompts");
    if (prompts == null || !prompts.isArray() || prompts.isEmpty()) {
      throw bad("prompts", prompts, "an array of prompt pairs, not empty");
    }
    List<PromptPair> pairs = new ArrayList<>();
    for (int i = 0; i < prompts.size(); i++) {
      pairs.add(pair(prompts.get(i), "prompts[" + i + "]"));
    }
    List<String> labels =
        root.hasNonNull("seq_labels") ? strings(root.get("seq_labels"), "seq_labels") : List.of();
    return new PromptDataset(labels, wordIdxs(root.get("word_idxs")), pairs);
  }

  private Map<String, Integer> wordIdxs(JsonNode node) {
    Map<String, Integer> positions = new LinkedHashMap<>();
    if (node == null || node.isNull()) {
      return positions;
    }
    if (!node.isObject()) {
      throw bad("word_idxs", node, "an object of positions");
    }
    for (Map.Entry<String, JsonNode> entry : node.properties()) {
      JsonNode position = entry.getValue();
      if (!position.isIntegralNumber() || !position.canConvertToInt() || position.intValue() < 0) {
        throw bad("word_idxs." + entry.getKey(), position, "a position, counted from 0");
      }
      positions.put(entry.getKey(), position.intValue());
    }
    return positions;
  }

  private PromptPair pair(JsonNode node, String place) {
    if (!node.isObject()) {
      throw bad(place, node, "an object with clean, corrupt, answers and wrong_answers");
    }
    List<String> answers = strings(node.get("answers"), place + ".answers");
    if (answers.isEmpty()) {
      throw bad(place + ".answers", node.get("answers"), "at least one answer");
    }
    return new PromptPair(
        prompt(node.get("clean"), place + ".clean"),
        prompt(node.get("corrupt"), place + ".corrupt"),
        answers,
        strings(node.get("wrong_answers"), place + ".wrong_answers"));
  }

  private String prompt(JsonNode node, String place) {
    if (node == null || !node.isTextual() || node.textValue().isEmpty()) {
      throw bad(place, node, "a text (prompts made of numbers are not supported)");
    }
    return node.textValue();
  }

  private List<String> strings(JsonNode node, String place) {
    if (node == null || !node.isArray()) {
      throw bad(place, node, "an array of strings");
    }
    List<String> strings = new ArrayList<>();
    for (int i = 0; i < node.size(); i++) {
      if (!node.get(i).isTextual()) {
        throw bad(place + "[" + i + "]", node.get(i), "a string");
      }
      strings.add(node.get(i).textValue());
    }
    return strings;
  }

  private PromptDatasetException bad(String place, JsonNode got, String expected) {
    String shown =
        got == null
            ? "missing"
            : switch (got.getNodeType()) {
              case OBJECT -> "an object";
              case ARRAY -> got.isEmpty() ? "an empty array" : "an array";
              default -> shorten(got.toString());
            };
    return new PromptDatasetException(
        "%s: %s is %s, expected %s".formatted(file, shorten(place), shown, expected));
  }

  private static String shorten(String text) {
    return text.length() > 80 ? text.substring(0, 80) + "…" : text;
  }

  static byte[] write(PromptDataset dataset) throws IOException {
    ObjectNode root = JSON.createObjectNode();
    if (!dataset.seqLabels().isEmpty()) {
      dataset.seqLabels().forEach(root.putArray("seq_labels")::add);
    }
    if (!dataset.wordIdxs().isEmpty()) {
      dataset.wordIdxs().forEach(root.putObject("word_idxs")::put);
    }
    ArrayNode prompts = root.putArray("prompts");
    for (PromptPair pair : dataset.prompts()) {
      ObjectNode node = prompts.addObject();
      node.put("clean", pair.clean());
      node.put("corrupt", pair.corrupt());
      pair.answers().forEach(node.putArray("answers")::add);
      pair.wrongAnswers().forEach(node.putArray("wrong_answers")::add);
    }
    DefaultPrettyPrinter printer =
        new DefaultPrettyPrinter().withObjectIndenter(new DefaultIndenter("  ", "\n"));
    return (JSON.writer(printer).writeValueAsString(root) + "\n").getBytes(StandardCharsets.UTF_8);
  }
}
