package org.autocircuit.model;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.google.errorprone.annotations.FormatMethod;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * What {@code tokenizer.json} is made of, looked at before native code sees it. Where that meets
 * what its authors held for impossible it does not throw but ends the process, so only components
 * get through that the supported families use, or that were tried with damaged files. The
 * vocabulary is passed over.
 */
final class TokenizerJson {

  private static final List<String> MODELS = List.of("BPE", "WordLevel", "WordPiece");

  /** Components by the key of the file, with the key of their parts if they are a sequence. */
  private static final Map<String, List<String>> COMPONENTS =
      Map.of(
          "normalizer",
          List.of(
              "normalizers",
              "BertNormalizer",
              "ByteLevel",
              "Lowercase",
              "NFC",
              "NFD",
              "NFKC",
              "NFKD",
              "Prepend",
              "Replace",
              "Strip",
              "StripAccents"),
          "pre_tokenizer",
          List.of(
              "pretokenizers",
              "BertPreTokenizer",
              "ByteLevel",
              "Digits",
              "Metaspace",
              "Punctuation",
              "Split",
              "Whitespace",
              "WhitespaceSplit"),
          "post_processor",
          List.of(
              "processors",
              "BertProcessing",
              "ByteLevel",
              "RobertaProcessing",
              "TemplateProcessing"),
          "decoder",
          List.of(
              "decoders",
              "BPEDecoder",
              "ByteFallback",
              "ByteLevel",
              "Fuse",
              "Metaspace",
              "Replace",
              "Strip",
              "WordPiece"));

  // The names of a vocabulary are all different: remembering them would only cost memory.
  private static final JsonFactory STREAM =
      JsonFactory.builder()
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
          .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
          .build()
          .setCodec(new JsonMapper());

  private final Path file;
  private final JsonParser parser;
  private Optional<String> unknownToken = Optional.empty();

  private TokenizerJson(Path file, JsonParser parser) {
    this.file = file;
    this.parser = parser;
  }

  /**
   * Checks a file.
   *
   * @return the text of the token that stands for unknown words, if the model has one
   * @throws CheckpointException naming the component that is not supported
   */
  static Optional<String> unknownToken(Path file, byte[] json) {
    try (JsonParser parser = STREAM.createParser(json)) {
      TokenizerJson tokenizer = new TokenizerJson(file, parser);
      tokenizer.check();
      return tokenizer.unknownToken;
    } catch (IOException e) {
      throw new CheckpointException(
          "%s: not valid JSON: %s".formatted(file, JsonFiles.firstLine(e.getMessage())), e);
    }
  }

  private void check() throws IOException {
    require(parser.nextToken() == JsonToken.START_OBJECT, "expected a JSON object");
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String key = parser.currentName();
      parser.nextToken();
      if (key.equals("model")) {
        checkModel();
      } else if (COMPONENTS.containsKey(key)) {
        checkComponent(key, parser.readValueAsTree());
      } else {
        parser.skipChildren();
      }
    }
  }

  private void checkModel() throws IOException {
    require(parser.currentToken() == JsonToken.START_OBJECT, "expected an object model");
    boolean bpe = true;
    boolean affixes = false;
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String key = parser.currentName();
      JsonToken value = parser.nextToken();
      String text = parser.getValueAsString("");
      switch (key) {
        case "type" -> {
          require(MODELS.contains(text), "model is %s, expected one of %s", text, MODELS);
          bpe = text.equals("BPE");
        }
        case "vocab" -> require(value == JsonToken.START_OBJECT, "expected an object model.vocab");
        case "unk_token" -> unknownToken = Optional.ofNullable(parser.getValueAsString());
        case "continuing_subword_prefix", "end_of_word_suffix" ->
            affixes |= value != JsonToken.VALUE_NULL && !text.isEmpty();
        default -> {}
      }
      parser.skipChildren();
    }
    require(!(bpe && affixes), "a prefix or suffix of a BPE's subwords is not supported");
  }

  private void checkComponent(String kind, JsonNode component) {
    if (component.isNull()) {
      return;
    }
    List<String> known = COMPONENTS.get(kind);
    String type = component.path("type").asText();
    if (type.equals("Sequence")) {
      component.path(known.get(0)).forEach(part -> checkComponent(kind, part));
      return;
    }
    require(
        known.indexOf(type) > 0,
        "%s is %s, expected Sequence or one of %s (nothing else is supported)",
        kind,
        JsonFiles.describe(component.path("type")),
        known.subList(1, known.size()));
    if (type.equals("TemplateProcessing")) {
      checkTemplate(component);
    }
    if (kind.equals("decoder") && type.equals("Strip")) {
      require(component.path("stop").asInt(1) == 0, "decoder Strip: expected 0 for stop");
    }
  }

  /** A template for one text must not mention a second text, nor a token that is not listed. */
  private void checkTemplate(JsonNode component) {
    JsonNode tokens = component.path("special_tokens");
    for (String template : List.of("single", "pair")) {
      for (JsonNode piece : component.path(template)) {
        JsonNode token = tokens.path(piece.path("SpecialToken").path("id").asText());
        boolean first = piece.path("Sequence").path("id").asText().equals("A");
        require(
            first || template.equals("pair") || piece.has("SpecialToken"),
            "post_processor TemplateProcessing: single has a piece that is neither A nor a token");
        require(
            !piece.has("SpecialToken")
                || (token.path("ids").isArray()
                    && token.path("ids").size() == token.path("tokens").size()),
            "post_processor TemplateProcessing: special_tokens lacks %s",
            JsonFiles.describe(piece.path("SpecialToken").path("id")));
      }
    }
  }

  @FormatMethod
  private void require(boolean holds, String message, Object... arguments) {
    if (!holds) {
      throw new CheckpointException(
          "%s: not a tokenizer: %s".formatted(file, message.formatted(arguments)));
    }
  }
}
