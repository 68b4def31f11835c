package org.autocircuit.tokenizer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.google.errorprone.annotations.FormatMethod;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.StrictJson;

/**
 * Says what {@code tokenizer.json} is made of, looked at before native code sees it. Where that
 * meets what its authors held for impossible it does not throw but ends the process, so only
 * components get through that the supported families use, or that were tried with damaged files.
 */
final class TokenizerJson {

  private static final JsonParser.Feature TWICE = JsonParser.Feature.STRICT_DUPLICATE_DETECTION;

  private static final int MAX_ADDED_TOKEN = 1000;

  /** Matches characters that no normalizer leaves out. */
  private static final Pattern LASTING = Pattern.compile("[A-Za-z0-9]");

  private static final List<String> LEAVE_OUT = List.of("BertNormalizer", "Strip", "StripAccents");

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
      StrictJson.factory()
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
          .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
          .streamReadConstraints(StreamReadConstraints.builder().maxNestingDepth(64).build())
          .build()
          .setCodec(new JsonMapper());

  private final Path file;
  private final JsonParser parser;
  private final Vocabulary vocabulary = new Vocabulary();
  private boolean frailTokens;
  private boolean leavesOut;

  private TokenizerJson(Path file, JsonParser parser) {
    this.file = file;
    this.parser = parser;
  }

  /**
   * Checks a file.
   *
   * @return how its tokens are spelled
   * @throws CheckpointException naming the component that is not supported
   */
  static Vocabulary vocabulary(Path file, byte[] json) {
    try (JsonParser all = STREAM.createParser(json).disable(TWICE);
        JsonParser parser = STREAM.createParser(json)) {
      new TokenizerJson(file, all).checkValues();
      TokenizerJson tokenizer = new TokenizerJson(file, parser);
      tokenizer.check();
      return tokenizer.vocabulary;
    } catch (JsonProcessingException e) {
      throw new CheckpointException("%s: %s".formatted(file, StrictJson.notValid(e)), e);
    } catch (IOException e) {
      throw new CheckpointException("%s: not valid JSON: %s".formatted(file, e.getMessage()), e);
    }
  }

  /** Rust's reader of JSON knows neither numbers without a limit nor halves of characters. */
  private void checkValues() throws IOException {
    for (JsonToken token = parser.nextToken(); token != null; token = parser.nextToken()) {
      if (token == JsonToken.VALUE_NUMBER_INT) {
        boolean fits = parser.getNumberType() != JsonParser.NumberType.BIG_INTEGER;
        require(fits, "a number is out of range");
      } else if (token == JsonToken.VALUE_NUMBER_FLOAT) {
        require(Double.isFinite(parser.getDoubleValue()), "a number is out of range");
      } else if (token == JsonToken.VALUE_STRING || token == JsonToken.FIELD_NAME) {
        boolean whole = parser.getText().codePoints().noneMatch(TokenizerJson::isHalf);
        require(whole, "a text has half a character");
      }
    }
  }

  private static boolean isHalf(int codePoint) {
    return Character.getType(codePoint) == Character.SURROGATE;
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
      } else if (key.equals("added_tokens")) {
        checkAddedTokens(parser.readValueAsTree());
      } else {
        parser.skipChildren();
      }
    }
    // An empty token would be found everywhere, inside of characters, too.
    require(
        !(frailTokens && leavesOut),
        "added_tokens has one of which the normalizer may leave nothing");
  }

  /** An automaton is made of them, which takes long for long ones. */
  private void checkAddedTokens(JsonNode tokens) {
    for (JsonNode token : tokens) {
      String content = token.path("content").asText();
      int length = content.length();
      require(
          length <= MAX_ADDED_TOKEN,
          "added_tokens has one of %s characters, expected at most %s",
          length,
          MAX_ADDED_TOKEN);
      vocabulary.putAdded(
          content, token.path("id").asLong(-1), token.path("special").asBoolean(false));
      frailTokens |= token.path("normalized").asBoolean(true) && !LASTING.matcher(content).find();
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
        case "vocab" -> {
          require(value == JsonToken.START_OBJECT, "expected an object model.vocab");
          readVocabulary();
        }
        case "unk_token" -> vocabulary.setUnknown(parser.getValueAsString());
        case "continuing_subword_prefix", "end_of_word_suffix" ->
            affixes |= value != JsonToken.VALUE_NULL && !text.isEmpty();
        default -> {}
      }
      parser.skipChildren();
    }
    require(!(bpe && affixes), "a prefix or suffix of a BPE's subwords is not supported");
  }

  /**
   * Leaves to native code what is not an id: it refuses that. Of a spelling that comes twice the
   * last id counts, there as here.
   */
  private void readVocabulary() throws IOException {
    parser.disable(TWICE);
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String spelling = parser.currentName();
      if (parser.nextToken() == JsonToken.VALUE_NUMBER_INT) {
        vocabulary.put(spelling, parser.getLongValue());
      }
      parser.skipChildren();
    }
    parser.enable(TWICE);
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
    if (type.equals("ByteLevel") && kind.equals("decoder")) {
      vocabulary.setByteLevel();
    }
    if (kind.equals("normalizer")) {
      leavesOut |= LEAVE_OUT.contains(type) || component.path("content").asText("x").isEmpty();
    }
    if (type.equals("TemplateProcessing")) {
      checkTemplate(component);
    }
    if (kind.equals("decoder") && type.equals("Strip")) {
      JsonNode stop = component.path("stop");
      require(stop.isInt() && stop.intValue() == 0, "decoder Strip: expected 0 for stop");
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
