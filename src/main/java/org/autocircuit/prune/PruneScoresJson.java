package org.autocircuit.prune;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamWriteFeature;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.IntStream;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.AtomicFile;
import org.autocircuit.internal.StrictJson;

/**
 * Prune scores, of all edges or of those of a circuit, as a JSON file: a header that says which
 * graph the scores belong to, then one entry for each edge name.
 *
 * <pre>{@code
 * {"format": "autocircuit-prune-scores", "version": 1,
 *  "graph": {"model": "transformer", "n_layers": 2, "n_heads": 4, "d_model": 16,
 *            "factorized": true, "separate_qkv": true, "seq_len": null, "n_edges": 110},
 *  "precision": "float32",
 *  "scores": {"Resid Start->A0.0.Q": 0.25, ...}}
 * }</pre>
 *
 * <p>The header of a model whose attention and MLP are not in sequence adds {@code "blocks"}, one
 * of {@code "parallel"} and {@code "attention_only"}; that of one with grouped-query attention adds
 * {@code "n_key_value_heads"} and {@code "ungrouped_key_values"}.
 *
 * <p>The file of a circuit has one more member after {@code "graph"}, and entries of its edges
 * only; in a graph with positions {@code null} stands for those at other positions:
 *
 * <pre>{@code
 * "circuit": {"model": "gpt2", "ablation": "RESAMPLE", "n_edges": 20},
 * }</pre>
 *
 * <p>A member {@code "run"} before {@code "precision"} may say what made the file: {@code
 * {"command": "...", "version": "..."}}.
 *
 * <p>In a graph with positions an entry is an array, one number for each position. Numbers that
 * JSON lacks are the strings {@code "inf"}, {@code "-inf"} and {@code "nan"}. The precision is
 * {@code float32} if that holds every score exactly, else {@code float64}; either way reading gives
 * back what was written, bit for bit. The members come in the order shown; entries of {@code
 * scores} may come in any order.
 *
 * <p>Files are streamed in both directions, so that memory is that of the scores.
 */
public final class PruneScoresJson {

  static final String FORMAT = "autocircuit-prune-scores";
  static final int VERSION = 1;
  static final String CIRCUIT = "circuit";
  static final String RUN = "run";
  static final String N_EDGES = "n_edges";
  static final String FLOAT32 = "float32";
  static final String FLOAT64 = "float64";

  private PruneScoresJson() {}

  /**
   * Writes a file, in place of an existing one when it is complete.
   *
   * @throws IOException if the file cannot be written
   */
  public static void write(PruneScores scores, Path file) throws IOException {
    AtomicFile.writeStream(file, out -> write(scores, out));
  }

  /**
   * Writes to a stream, which stays open.
   *
   * @throws IOException if writing fails
   */
  public static void write(PruneScores scores, OutputStream out) throws IOException {
    write(scores, EdgeSet.all(scores.graph()), null, Map.of(), out);
  }

  /**
   * Writes a file that says what made it, in place of an existing one when it is complete.
   *
   * @param run facts by name, for instance the command and the version of the program
   * @throws IOException if the file cannot be written
   */
  public static void write(PruneScores scores, Map<String, String> run, Path file)
      throws IOException {
    EdgeSet all = EdgeSet.all(scores.graph());
    AtomicFile.writeStream(file, out -> write(scores, all, null, run, out));
  }

  /**
   * Writes the file of a circuit, in place of an existing one when it is complete.
   *
   * @throws IllegalArgumentException if scores and edges are those of different graphs
   * @throws IOException if the file cannot be written
   */
  public static void writeCircuit(CircuitScores circuit, Path file) throws IOException {
    Map<String, Object> properties = new LinkedHashMap<>(circuit.properties());
    properties.put(N_EDGES, circuit.edges().size());
    AtomicFile.writeStream(
        file, out -> write(circuit.scores(), circuit.edges(), properties, Map.of(), out));
  }

  /** Writes the scores of some edges; properties: {@code null} if they are no circuit but all. */
  private static void write(
      PruneScores scores,
      EdgeSet edges,
      Map<String, Object> properties,
      Map<String, String> run,
      OutputStream out)
      throws IOException {
    ModelGraph graph = scores.graph();
    double[] values = scores.toArray();
    boolean single = isSinglePrecision(values, edges);
    // A failure half-way must not leave a file that looks complete.
    JsonFactory factory =
        StrictJson.factory()
            .disable(StreamWriteFeature.AUTO_CLOSE_TARGET, StreamWriteFeature.AUTO_CLOSE_CONTENT)
            .build();
    try (JsonGenerator json = factory.createGenerator(out)) {
      json.setPrettyPrinter(
          new DefaultPrettyPrinter().withObjectIndenter(new DefaultIndenter("  ", "\n")));
      json.writeStartObject();
      json.writeStringField("format", FORMAT);
      json.writeNumberField("version", VERSION);
      GraphHeader.of(graph).write(json);
      if (properties != null) {
        writeObject(json, CIRCUIT, properties);
      }
      if (!run.isEmpty()) {
        writeObject(json, RUN, run);
      }
      json.writeStringField("precision", single ? FLOAT32 : FLOAT64);
      json.writeObjectFieldStart("scores");
      for (DestModule module : graph.destModules()) {
        for (int i = 0; i < module.positionSize(); i++) {
          int first = module.offset() + i;
          int positions = Math.max(module.seqLen(), 1);
          int step = module.positionSize();
          if (IntStream.range(0, positions).noneMatch(at -> edges.contains(first + at * step))) {
            continue;
          }
          json.writeFieldName(graph.edge(first).name());
          if (module.seqLen() == 0) {
            writeNumber(json, values[first], single);
          } else {
            json.writeStartArray();
            for (int at = 0; at < positions; at++) {
              if (edges.contains(first + at * step)) {
                writeNumber(json, values[first + at * step], single);
              } else {
                json.writeNull();
              }
            }
            json.writeEndArray();
          }
        }
      }
      json.writeEndObject();
      json.writeEndObject();
    }
  }

  private static void writeObject(JsonGenerator json, String name, Map<String, ?> properties)
      throws IOException {
    json.writeObjectFieldStart(name);
    for (Map.Entry<String, ?> property : properties.entrySet()) {
      json.writeObjectField(property.getKey(), property.getValue());
    }
    json.writeEndObject();
  }

  /**
   * Reads a file. Edges that are not in the circuit of a circuit's file have the score 0.
   *
   * @param graph the graph whose edges are scored, which must be the one in the header
   * @throws IOException if the file cannot be read, is truncated, is not such a file, goes on after
   *     its object, or holds a number that its precision lacks; names the file and the place in it
   * @throws IllegalArgumentException if the scores are those of another graph: names the property
   *     that differs, the unknown edge with the nearest existing one, or an edge without a score
   */
  public static PruneScores read(ModelGraph graph, Path file) throws IOException {
    try (InputStream in = open(file)) {
      return read(graph, in, file.toString());
    }
  }

  /**
   * Reads a stream to its end; it stays open.
   *
   * @param graph the graph whose edges are scored
   * @param in the stream
   * @param source what the stream reads, for error messages
   * @throws IOException as in {@link #read(ModelGraph, Path)}
   * @throws IllegalArgumentException as in {@link #read(ModelGraph, Path)}
   */
  public static PruneScores read(ModelGraph graph, InputStream in, String source)
      throws IOException {
    return read(graph, in, source, PruneScoresReader::read);
  }

  /**
   * Reads the file of a circuit.
   *
   * @param graph the graph whose edges are in it, which must be the one in the header
   * @throws IOException as in {@link #read(ModelGraph, Path)}, and if the file has the scores of
   *     all edges and no circuit
   * @throws IllegalArgumentException as in {@link #read(ModelGraph, Path)}
   */
  public static CircuitScores readCircuit(ModelGraph graph, Path file) throws IOException {
    try (InputStream in = open(file)) {
      return read(graph, in, file.toString(), PruneScoresReader::readCircuit);
    }
  }

  /**
   * Reads the file of scores or of a circuit; the edges are those that it has scores of.
   *
   * @throws IOException as in {@link #read(ModelGraph, Path)}
   * @throws IllegalArgumentException as in {@link #read(ModelGraph, Path)}
   */
  public static CircuitScores readEither(ModelGraph graph, Path file) throws IOException {
    try (InputStream in = open(file)) {
      return read(graph, in, file.toString(), PruneScoresReader::readEither);
    }
  }

  private static InputStream open(Path file) throws IOException {
    if (Files.isDirectory(file)) {
      // Java opens folders, and fails at the first byte without their name.
      throw new IOException("%s: a folder, expected a file".formatted(file));
    }
    return new BufferedInputStream(Files.newInputStream(file));
  }

  /** Says what is read of a file. */
  private interface Content<T> {
    T read(PruneScoresReader reader) throws IOException;
  }

  private static <T> T read(ModelGraph graph, InputStream in, String source, Content<T> content)
      throws IOException {
    try (PruneScoresReader reader = new PruneScoresReader(graph, in, source)) {
      return content.read(reader);
    } catch (JsonProcessingException e) {
      throw new IOException("%s: %s".formatted(source, StrictJson.notValid(e)), e);
    }
  }

  private static void writeNumber(JsonGenerator json, double value, boolean single)
      throws IOException {
    if (Double.isNaN(value)) {
      json.writeString("nan");
    } else if (Double.isInfinite(value)) {
      json.writeString(value > 0 ? "inf" : "-inf");
    } else if (single) {
      json.writeNumber((float) value);
    } else {
      json.writeNumber(value);
    }
  }

  private static boolean isSinglePrecision(double[] values, EdgeSet edges) {
    return edges
        .indices()
        .mapToDouble(index -> values[index])
        .allMatch(value -> Double.isNaN(value) || (float) value == value);
  }
}
