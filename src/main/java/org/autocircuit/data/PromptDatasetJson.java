package org.autocircuit.data;

import com.fasterxml.jackson.core.JsonParseException;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.SeekableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.autocircuit.exception.PromptDatasetException;
import org.autocircuit.internal.StrictJson;

/** The JSON form of a {@link PromptDataset}; complaints name the place in the file. */
final class PromptDatasetJson {
  private static final int END_BYTES = 1 << 16;

  /** A key, since quotes inside of texts have a backslash. */
  private static final Pattern LABELS = Pattern.compile("(?<!\\\\)\"(seq_labels|word_idxs)\"\\s*:");

  private final String file;
  private final List<String> problems = new ArrayList<>();

  /** The place at which reading stopped, in bytes; negative if it did not stop before the end. */
  private long stoppedAt = -1;

  private PromptDatasetJson(String file) {
    this.file = file;
  }

  /** Reads a stream to its end. */
  static PromptDataset read(InputStream stream, String name) {
    return new PromptDatasetJson(name).read(stream, Integer.MAX_VALUE);
  }

  /**
   * Reads a file as far as need be.
   *
   * @param limit most pairs; of what follows them only the end is searched for labels
   */
  static PromptDataset read(Path path, int limit) {
    if (!Files.isRegularFile(path)) {
      throw new PromptDatasetException("%s: no such file".formatted(path));
    }
    PromptDatasetJson reader = new PromptDatasetJson(path.toString());
    try (InputStream stream = Files.newInputStream(path)) {
      PromptDataset dataset = reader.read(stream, limit);
      if (reader.stoppedAt >= 0) {
        requireNoLabelsAtTheEnd(path, reader.stoppedAt);
      }
      return dataset;
    } catch (IOException e) {
      throw new PromptDatasetException("%s: cannot be read: %s".formatted(path, e), e);
    }
  }

  private static void requireNoLabelsAtTheEnd(Path path, long from) throws IOException {
    ByteBuffer end = ByteBuffer.allocate(END_BYTES);
    try (SeekableByteChannel channel = Files.newByteChannel(path)) {
      channel.position(Math.max(from, channel.size() - END_BYTES));
      while (end.hasRemaining() && channel.read(end) >= 0) {}
    }
    Matcher labels =
        LABELS.matcher(new String(end.array(), 0, end.position(), StandardCharsets.UTF_8));
    if (labels.find()) {
      throw new PromptDatasetException(
          ("%s: %s comes after the prompts, where it is not read if not all of them are; put it"
                  + " before them, or read all")
              .formatted(path, labels.group(1)));
    }
  }

  private PromptDataset read(InputStream stream, int limit) {
    try (JsonParser json = StrictJson.PARTS.createParser(stream)) {
      return dataset(json, limit);
    } catch (JsonProcessingException e) {
      throw new PromptDatasetException("%s: %s".formatted(file, StrictJson.notValid(e)), e);
    } catch (IOException e) {
      throw new PromptDatasetException("%s: cannot be read: %s".formatted(file, e), e);
    }
  }

  private PromptDataset dataset(JsonParser json, int limit) throws IOException {
    if (json.nextToken() != JsonToken.START_OBJECT) {
      bad("the document", tree(json), "an object with prompts");
      throw new PromptDatasetException(file, problems);
    }
    boolean found = false;
    List<PromptPair> pairs = new ArrayList<>();
    List<String> labels = List.of();
    Map<String, Integer> positions = Map.of();
    while (stoppedAt < 0 && json.nextToken() == JsonToken.FIELD_NAME) {
      String key = json.currentName();
      json.nextToken();
      switch (key) {
        case "prompts" -> {
          found = true;
          readPairs(json, limit, pairs);
        }
        case "seq_labels" -> labels = strings(tree(json), key);
        case "word_idxs" -> positions = wordIdxs(tree(json));
        default -> json.skipChildren();
      }
    }
    if (!found) {
      badPrompts(MissingNode.getInstance());
    }
    if (stoppedAt < 0 && json.nextToken() != null) {
      throw new JsonParseException(json, "there is text after the end of the document");
    }
    if (!problems.isEmpty()) {
      throw new PromptDatasetException(file, problems);
    }
    return new PromptDataset(labels, positions, pairs, file);
  }

  private void readPairs(JsonParser json, int limit, List<PromptPair> pairs) throws IOException {
    if (json.currentToken() != JsonToken.START_ARRAY) {
      badPrompts(tree(json));
      return;
    }
    int read = 0;
    for (; json.nextToken() != JsonToken.END_ARRAY; read++) {
      if (read == limit) {
        stoppedAt = Math.max(0, json.currentTokenLocation().getByteOffset());
        return;
      }
      int before = problems.size();
      PairParts parts = pair(tree(json), "prompts[" + read + "]");
      if (problems.size() == before) {
        pairs.add(
            new PromptPair(parts.clean(), parts.corrupt(), parts.answers(), parts.wrongAnswers()));
      }
    }
    if (read == 0) {
      badPrompts(JsonNodeFactory.instance.arrayNode());
    }
  }

  private void badPrompts(JsonNode got) {
    bad("prompts", got, "an array of prompt pairs, not empty");
  }

  private static JsonNode tree(JsonParser json) throws IOException {
    return json.currentToken() == null ? MissingNode.getInstance() : json.readValueAsTree();
  }

  private Map<String, Integer> wordIdxs(JsonNode node) {
    Map<String, Integer> positions = new LinkedHashMap<>();
    if (!node.isObject() && !node.isNull()) {
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
    if (node.isNull()) {
      return strings;
    }
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
          default -> shorten(StrictJson.text(got));
        };
    problems.add("%s is %s, expected %s".formatted(shorten(place), shown, expected));
  }

  private static String shorten(String text) {
    return text.length() > 80 ? text.substring(0, 80) + "…" : text;
  }

  static byte[] write(PromptDataset dataset) throws IOException {
    ObjectNode root = StrictJson.MAPPER.createObjectNode();
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
    return (StrictJson.MAPPER.writer(printer).writeValueAsString(root) + "\n")
        .getBytes(StandardCharsets.UTF_8);
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
