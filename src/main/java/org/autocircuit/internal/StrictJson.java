package org.autocircuit.internal;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonFactoryBuilder;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.util.JsonRecyclerPools;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;

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

  private static JsonMapper.Builder mapper(DeserializationFeature... features) {
    return JsonMapper.builder(
            factory().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build())
        .enable(features);
  }
}
