package org.autocircuit.prune;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import java.io.IOException;
import java.io.InputStream;
import java.util.BitSet;
import java.util.LinkedHashMap;
import java.util.Map;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.StrictJson;

/** Reads one JSON object of the form that {@link PruneScoresJson} describes. */
final class PruneScoresReader implements AutoCloseable {

  private final ModelGraph graph;
  private final String source;
  private final JsonParser json;
  private final double[] scores;
  private final BitSet seen;

  /** A circuit's description in its file; {@code null} for scores of all edges. */
  private Map<String, Object> circuit;

  PruneScoresReader(ModelGraph graph, InputStream in, String source) throws IOException {
    this.graph = graph;
    this.source = source;
    // Edge names are all different, so interning them as field names would only cost memory.
    this.json =
        StrictJson.factory()
            .disable(StreamReadFeature.AUTO_CLOSE_SOURCE)
            .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
            .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
            .build()
            .createParser(in);
    this.scores = new double[graph.nEdges()];
    this.seen = new BitSet(scores.length);
  }

  PruneScores read() throws IOException {
    expect(json.nextToken() == JsonToken.START_OBJECT, "an object");
    member("format");
    expect(PruneScoresJson.FORMAT.equals(json.getText()), "'" + PruneScoresJson.FORMAT + "'");
    member("version");
    expect(
        json.currentToken() == JsonToken.VALUE_NUMBER_INT
            && json.getIntValue() == PruneScoresJson.VERSION,
        "version " + PruneScoresJson.VERSION);
    member("graph");
    Map<String, Object> header = properties();
    boolean isCircuit =
        json.nextToken() == JsonToken.FIELD_NAME
            && PruneScoresJson.CIRCUIT.equals(json.currentName());
    if (isCircuit) {
      json.nextToken();
      circuit = properties();
      json.nextToken();
    }
    GraphHeader.of(graph)
        .check(header, source, isCircuit ? "is a circuit of" : "has the scores of");
    if (json.currentToken() == JsonToken.FIELD_NAME
        && PruneScoresJson.RUN.equals(json.currentName())) {
      json.nextToken();
      properties();
      json.nextToken();
    }
    named("precision");
    String precision = json.getText();
    boolean single = PruneScoresJson.FLOAT32.equals(precision);
    expect(single || PruneScoresJson.FLOAT64.equals(precision), "'float32' or 'float64'");
    member("scores");
    readScores(single);
    expect(json.nextToken() == JsonToken.END_OBJECT, "the end of the object");
    requireEnd();
    requireAll();
    return PruneScores.wrap(graph, scores);
  }

  CircuitScores readCircuit() throws IOException {
    CircuitScores read = readEither();
    if (circuit == null) {
      throw new IOException(
          "%s has the scores of all %s edges and no circuit; read it as scores and choose a circuit of them"
              .formatted(source, scores.length));
    }
    return read;
  }

  CircuitScores readEither() throws IOException {
    PruneScores read = read();
    Map<String, String> properties = new LinkedHashMap<>();
    if (circuit != null) {
      circuit.forEach((name, value) -> properties.put(name, String.valueOf(value)));
      properties.remove(PruneScoresJson.N_EDGES);
    }
    return new CircuitScores(read, EdgeSet.ofIndices(graph, seen), properties);
  }

  private void requireAll() throws IOException {
    int found = seen.cardinality();
    if (circuit != null) {
      String expected = String.valueOf(circuit.get(PruneScoresJson.N_EDGES));
      if (!expected.equals(String.valueOf(found))) {
        throw new IOException(
            "%s has %s edges of a circuit of %s".formatted(source, found, expected));
      }
    } else if (found < scores.length) {
      throw new IllegalArgumentException(
          "%s has no score for %s of %s edges, the first of them '%s'"
              .formatted(
                  source, scores.length - found, scores.length, graph.edge(seen.nextClearBit(0))));
    }
  }

  @Override
  public void close() throws IOException {
    json.close();
  }

  private void readScores(boolean single) throws IOException {
    expect(json.currentToken() == JsonToken.START_OBJECT, "an object of scores");
    while (json.nextToken() != JsonToken.END_OBJECT) {
      String name = json.currentName();
      int[] indices;
      try {
        indices = graph.indices(name);
      } catch (IllegalArgumentException e) {
        throw new IllegalArgumentException(place() + ": " + e.getMessage(), e);
      }
      boolean array = json.nextToken() == JsonToken.START_ARRAY;
      expect(
          array == graph.seqLen().isPresent(),
          graph.seqLen().isPresent()
              ? indices.length + " scores for '" + name + "'"
              : "one score for '" + name + "'");
      for (int i = 0; i < indices.length; i++) {
        if (array) {
          expect(
              json.nextToken() != JsonToken.END_ARRAY,
              indices.length + " scores for '" + name + "', not " + i);
        }
        if (array && circuit != null && json.currentToken() == JsonToken.VALUE_NULL) {
          continue; // not in the circuit at this position
        }
        scores[indices[i]] = number(name, single);
        expect(!seen.get(indices[i]), "'" + name + "' once, not twice");
        seen.set(indices[i]);
      }
      if (array) {
        expect(
            json.nextToken() == JsonToken.END_ARRAY,
            "only " + indices.length + " scores for '" + name + "'");
      }
    }
  }

  /** Text after the object hides a value from some readers, and is what a broken copy leaves. */
  private void requireEnd() throws IOException {
    JsonToken next;
    try {
      next = json.nextToken();
    } catch (JsonProcessingException e) {
      throw new IOException(place() + ": text after the end of the object", e);
    }
    if (next != null) {
      throw new IOException(place() + ": text after the end of the object");
    }
  }

  private double number(String name, boolean single) throws IOException {
    String text = json.getText();
    if (json.currentToken().isNumeric()) {
      double value = single ? Float.parseFloat(text) : Double.parseDouble(text);
      if (Double.isInfinite(value)) {
        throw new IOException(
            "%s: the score %s of '%s' is no %s; infinity is \"inf\" or \"-inf\""
                .formatted(
                    place(),
                    text.length() > 40 ? text.substring(0, 40) + "…" : text,
                    name,
                    single ? PruneScoresJson.FLOAT32 : PruneScoresJson.FLOAT64));
      }
      return value;
    }
    expect(json.currentToken() == JsonToken.VALUE_STRING, "a number as score of '" + name + "'");
    return switch (text) {
      case "inf" -> Double.POSITIVE_INFINITY;
      case "-inf" -> Double.NEGATIVE_INFINITY;
      case "nan" -> Double.NaN;
      default -> throw malformed("a number as score of '" + name + "'");
    };
  }

  private Map<String, Object> properties() throws IOException {
    expect(json.currentToken() == JsonToken.START_OBJECT, "an object of the graph's properties");
    Map<String, Object> properties = new LinkedHashMap<>();
    while (json.nextToken() != JsonToken.END_OBJECT) {
      String name = json.currentName();
      expect(!properties.containsKey(name), "'" + name + "' once, not twice");
      JsonToken value = json.nextToken();
      expect(value != null && value.isScalarValue(), "a plain value of '" + name + "'");
      properties.put(name, value == JsonToken.VALUE_NULL ? null : json.getText());
    }
    return properties;
  }

  private void member(String name) throws IOException {
    json.nextToken();
    named(name);
  }

  /** Goes on to the value of a member that has been reached. */
  private void named(String name) throws IOException {
    expect(
        json.currentToken() == JsonToken.FIELD_NAME && name.equals(json.currentName()),
        "member '" + name + "'");
    json.nextToken();
  }

  private void expect(boolean condition, String expected) throws IOException {
    if (!condition) {
      throw malformed(expected);
    }
  }

  private IOException malformed(String expected) throws IOException {
    JsonToken token = json.currentToken();
    String found =
        token == null
            ? "the end of the file"
            : token == JsonToken.FIELD_NAME
                ? "member '" + json.currentName() + "'"
                : "'" + json.getText() + "'";
    return new IOException("%s: expected %s, found %s".formatted(place(), expected, found));
  }

  private String place() {
    return "%s, line %s, column %s"
        .formatted(
            source,
            json.currentTokenLocation().getLineNr(),
            json.currentTokenLocation().getColumnNr());
  }
}
