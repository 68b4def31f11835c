package org.autocircuit.internal;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonFactoryBuilder;
import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.util.JsonRecyclerPools;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.util.List;
import java.util.regex.Pattern;

/**
 * JSON, read strictly: keys that come twice and text after the document are errors, since both hide
 * something from the reader. No buffers are left on threads, which would keep the class loader.
 */
public final class StrictJson {

  /** Whole documents, and what is written. */
  public static final JsonMapper MAPPER =
      mapper(DeserializationFeature.FAIL_ON_TRAILING_TOKENS).build();

  /** Documents that are read in parts, which can be trees; whoever reads them looks for the end. */
  public static final JsonFactory PARTS = mapper().build().getFactory();

  /** Parts of the parser's messages that are for those who program with it. */
  private static final List<Pattern> INNER =
      List.of(
          Pattern.compile(" \\(start marker at .*"),
          Pattern.compile(": (enable|not allowed as per) `[^`]*`( to allow)?"),
          Pattern.compile(" \\(bound as `[^`]*`\\)"),
          Pattern.compile(", from `[^`]*`"),
          Pattern.compile(" \\(not recognized as one since Feature[^)]*\\)"),
          Pattern.compile(" \\(of type \\w+\\)"));

  private StrictJson() {}

  /** Returns what parsers and generators with settings of their own begin with. */
  public static JsonFactoryBuilder factory() {
    return (JsonFactoryBuilder)
        JsonFactory.builder().recyclerPool(JsonRecyclerPools.nonRecyclingPool());
  }

  /** A value as JSON; its own {@code toString} would leave a buffer. */
  public static String text(JsonNode node) {
    try {
      return MAPPER.writeValueAsString(node);
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("not a value of JSON: " + node.getNodeType(), e);
    }
  }

  /**
   * Says that a document is not valid JSON, where, and why: in words for people, without the names
   * of the parser's settings.
   */
  public static String notValid(JsonProcessingException e) {
    JsonLocation place = e.getLocation(); // too deep nesting has none
    return "not valid JSON%s: %s"
        .formatted(
            place == null
                ? ""
                : " at line %s, column %s".formatted(place.getLineNr(), place.getColumnNr()),
            reason(e));
  }

  private static String reason(JsonProcessingException e) {
    String text = e.getOriginalMessage().lines().findFirst().orElse("");
    if (text.startsWith("Unexpected end-of-input")) {
      return "it ends too early";
    }
    for (Pattern inner : INNER) {
      text = inner.matcher(text).replaceAll("");
    }
    return text;
  }

  private static JsonMapper.Builder mapper(DeserializationFeature... features) {
    return JsonMapper.builder(
            factory().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build())
        .enable(features);
  }
}
