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
  private final List<String> problems = new ArrayList<>();

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
      bad("the document", root, "an object with prompts");
      throw PromptDatasetException.of(file, problems);
    }
    JsonNode prompts = root.path("prompts");
    if (!prompts.isArray() || prompts.isEmpty()) {
      bad("prompts", prompts, "an array of prompt pairs, not empty");
    }
    List<PromptPair> pairs = new ArrayList<>();
    for (int i = 0; prompts.isArray() && i < prompts.size(); i++) {
      int before = problems.size();
      PairParts parts = pair(prompts.get(i), "prompts[" + i + "]");
      if (problems.size() == before) {
        pairs.add(
            new PromptPair(parts.clean(), parts.corrupt(), parts.answers(), parts.wrongAnswers()));
      }
    }
    List<String> labels =
        root.hasNonNull("seq_labels") ? strings(root.get("seq_labels"), "seq_labels") : List.of();
    Map<String, Integer> positions = wordIdxs(root.path("word_idxs"));
    if (!problems.isEmpty()) {
      throw PromptDatasetException.of(file, problems);
    }
    return new PromptDataset(labels, positions, pairs, file);
  }

  private Map<String, Integer> wordIdxs(JsonNode node) {
    Map<String, Integer> positions = new LinkedHashMap<>();
    if (!node.isObject() && !node.isNull() && !node.isMissingNode()) {
      bad("word_idxs", node, "an object of positions");
    }
    for (Map.Entry<String, JsonNode> entry : node.properties()) {
      JsonNode position = entry.getValue();
      if (!position.isIntegralNumber() || !position.canConvertToInt() || position.intValue() < 0) {
        bad("word_idxs." + entry.getKey(), position, "a position, counted from 0");
      } else {
        positions.put(entry.getKey(), position.intValue());
      }
    }
    return positions;
  }

  private record PairParts(
      PromptText clean,
      PromptText corrupt,
      List<PromptText> answers,
      List<PromptText> wrongAnswers) {}

  private PairParts pair(JsonNode node, String place) {
    if (!node.isObject()) {
      bad(place, node, "an object with clean, corrupt, answers and wrong_answers");
      return null;
    }
    List<PromptText> answers = answers(node.path("answers"), place + ".answers");
    if (node.path("answers").isArray() && node.path("answers").isEmpty()) {
      bad(place + ".answers", node.get("answers"), "at least one answer");
    }
    return new PairParts(
        prompt(node.path("clean"), place + ".clean"),
        prompt(node.path("corrupt"), place + ".corrupt"),
        answers,
        answers(node.path("wrong_answers"), place + ".wrong_answers"));
  }

  private PromptText prompt(JsonNode node, String place) {
    // The original writes the ids of one prompt as a row of a matrix.
    JsonNode row = node.isArray() && node.size() == 1 && node.get(0).isArray() ? node.get(0) : node;
    if (row.isArray() && !row.isEmpty()) {
      List<Long> ids = new ArrayList<>();
      for (JsonNode id : row) {
        if (!isId(id)) {
          bad(place, id, "a text or an array of token ids");
          return null;
        }
        ids.add(id.longValue());
      }
      return new PromptText.Ids(ids);
    }
    if (!node.isTextual() || node.textValue().isEmpty()) {
      bad(place, node, "a text or an array of token ids");
      return null;
    }
    return PromptText.of(node.textValue());
  }

  private static boolean isId(JsonNode node) {
    return node.isIntegralNumber() && node.canConvertToInt() && node.intValue() >= 0;
  }

  private List<PromptText> answers(JsonNode node, String place) {
    List<PromptText> answers = new ArrayList<>();
    if (!node.isArray()) {
      bad(place, node, "an array of answers");
      return answers;
    }
    for (int i = 0; i < node.size(); i++) {
      JsonNode answer = node.get(i);
      if (answer.isTextual() && !answer.textValue().isEmpty()) {
        answers.add(PromptText.of(answer.textValue()));
      } else if (isId(answer)) {
        answers.add(PromptText.of(answer.longValue()));
      } else if (answer.isObject() && answer.size() == 1 && answer.path("token").isTextual()) {
        answers.add(new PromptText.Token(answer.get("token").textValue()));
      } else {
        bad(place + "[" + i + "]", answer, "a text, a token id or {\"token\": \"spelling\"}");
      }
    }
    return answers;
  }

  private List<String> strings(JsonNode node, String place) {
    List<String> strings = new ArrayList<>();
    if (!node.isArray()) {
      bad(place, node, "an array of strings");
      return strings;
    }
    for (int i = 0; i < node.size(); i++) {
      if (!node.get(i).isTextual()) {
        bad(place + "[" + i + "]", node.get(i), "a string");
      } else {
        strings.add(node.get(i).textValue());
      }
    }
    return strings;
  }

  private void bad(String place, JsonNode got, String expected) {
    String shown =
        switch (got.getNodeType()) {
          case MISSING -> "missing";
          case OBJECT -> "an object";
          case ARRAY -> got.isEmpty() ? "an empty array" : "an array";
          default -> shorten(got.toString());
        };
    problems.add("%s is %s, expected %s".formatted(shorten(place), shown, expected));
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
      putPrompt(node, "clean", pair.clean());
      putPrompt(node, "corrupt", pair.corrupt());
      putAnswers(node.putArray("answers"), pair.answers());
      putAnswers(node.putArray("wrong_answers"), pair.wrongAnswers());
    }
    DefaultPrettyPrinter printer =
        new DefaultPrettyPrinter().withObjectIndenter(new DefaultIndenter("  ", "\n"));
    return (JSON.writer(printer).writeValueAsString(root) + "\n").getBytes(StandardCharsets.UTF_8);
  }

  private static void putPrompt(ObjectNode node, String key, PromptText prompt) {
    if (prompt instanceof PromptText.Ids ids) {
      ids.ids().forEach(node.putArray(key)::add);
    } else {
      node.put(key, prompt.toString());
    }
  }

  private static void putAnswers(ArrayNode array, List<PromptText> answers) {
    for (PromptText answer : answers) {
      if (answer instanceof PromptText.Ids ids) {
        array.add(ids.ids().get(0));
      } else if (answer instanceof PromptText.Token token) {
        array.addObject().put("token", token.spelling());
      } else {
        array.add(answer.toString());
      }
    }
  }
}
