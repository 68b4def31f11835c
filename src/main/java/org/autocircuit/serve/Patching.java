package org.autocircuit.serve;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.autocircuit.generate.Donor;
import org.autocircuit.generate.GenerationPatch;
import org.autocircuit.generate.Span;
import org.autocircuit.generate.Steering;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.http.Members;
import org.autocircuit.internal.http.Refusal;
import org.autocircuit.patch.Masks;
import org.autocircuit.prune.CircuitScores;
import org.autocircuit.prune.CircuitSelection;
import org.autocircuit.prune.PruneScores;

/**
 * The {@code autocircuit} object of a request.
 *
 * @param patch of edges
 * @param edges number of those patched
 * @param steering vectors that are added
 */
record Patching(GenerationPatch patch, int edges, List<Steering> steering) {

  /** Nothing is patched, and nothing steers. */
  static final Patching NONE = new Patching(GenerationPatch.NONE, 0, List.of());

  /**
   * Reads the object.
   *
   * @throws Refusal if something is wrong; of an edge that is not there suggests the nearest
   */
  static Patching read(Members members, Served served) {
    EdgeSet edges = edges(members, served);
    GenerationPatch patch = patch(members, edges, served);
    List<Steering> steering = new ArrayList<>();
    List<JsonNode> vectors = members.array("steering");
    for (int i = 0; i < vectors.size(); i++) {
      String place = "%s[%s]".formatted(members.place("steering"), i);
      Members vector = Members.members(place, vectors.get(i));
      steering.add(Members.at(place, () -> steering(vector)));
    }
    members.refuseOthers();
    return new Patching(patch, edges == null ? 0 : edges.size(), steering);
  }

  /** The edges to patch, or {@code null} if the request names none. */
  private static EdgeSet edges(Members members, Served served) {
    boolean named = members.has("edges");
    boolean scored = members.has("scores");
    members.onlyIf("edges", !scored, "edges or scores, not both");
    members.onlyIf("size", scored, "none without scores");
    if (named) {
      return named(members, served.model().graph());
    }
    if (!scored) {
      return null;
    }
    CircuitScores scores = scores(members, served);
    int most = scores.edges().size();
    boolean isCircuit = members.node("scores").isTextual() && most < scores.scores().size();
    int size = members.integer("size", 0, isCircuit ? most : -1);
    if (size < 0 || size > most) {
      throw members.refuse("size", "the number of edges of the circuit, 0 to %s".formatted(most));
    }
    EdgeSet kept = size == most ? scores.edges() : CircuitSelection.top(size).of(scores.scores());
    return kept.complement();
  }

  private static EdgeSet named(Members members, ModelGraph graph) {
    List<String> names = members.texts("edges");
    for (int i = 0; i < names.size(); i++) {
      String name = names.get(i);
      Members.at("%s[%s]".formatted(members.place("edges"), i), () -> graph.indices(name));
    }
    return EdgeSet.ofNames(graph, names);
  }

  /** Scores that the server knows by name, or those of edges. */
  private static CircuitScores scores(Members members, Served served) {
    JsonNode node = members.node("scores");
    if (node.isTextual()) {
      String name = members.text("scores", "");
      CircuitScores scores = served.scores().get(name);
      if (scores == null) {
        throw served.scores().isEmpty()
            ? Refusal.of(
                members.place("scores"),
                "an object of edges, since the server was started without scores",
                "'%s'".formatted(name))
            : Refusal.unknown(members.place("scores"), name, served.scores().keySet());
      }
      return scores;
    }
    if (!node.isObject()) {
      throw members.refuse("scores", "a name of scores, or an object of edges and numbers");
    }
    Map<String, Double> values = new LinkedHashMap<>();
    node.properties()
        .forEach(
            each ->
                values.put(
                    each.getKey(),
                    Members.finite(
                        "%s['%s']".formatted(members.place("scores"), each.getKey()),
                        each.getValue())));
    ModelGraph graph = served.model().graph();
    return Members.at(
        members.place("scores"),
        () ->
            new CircuitScores(
                PruneScores.ofCircuitNames(graph, values),
                EdgeSet.ofNames(graph, values.keySet()),
                Map.of()));
  }

  private static GenerationPatch patch(Members members, EdgeSet edges, Served served) {
    boolean hasCorrupt = members.has("corrupt");
    String needsEdges = "none without edges or scores";
    members.onlyIf("corrupt", edges != null, needsEdges);
    members.onlyIf("at", edges != null, needsEdges);
    members.onlyIf("donor", hasCorrupt, "none without corrupt");
    Span span = span(members);
    Donor donor = donor(members);
    if (edges == null) {
      return GenerationPatch.NONE;
    }
    Masks masks = Masks.ofEdges(edges);
    return (hasCorrupt
            ? GenerationPatch.resample(Completion.tokens(members, "corrupt", served), masks, donor)
            : GenerationPatch.zero(masks))
        .at(span);
  }

  private static Donor donor(Members members) {
    return switch (members.text("donor", "follows").toLowerCase(Locale.ROOT)) {
      case "follows" -> Donor.FOLLOWS;
      case "free" -> Donor.FREE;
      default -> throw members.refuse("donor", "\"follows\" or \"free\"");
    };
  }

  private static Span span(Members members) {
    JsonNode node = members.node("at");
    if (node.isNull()) {
      return Span.ALL;
    }
    if (node.isArray() && (node.size() == 1 || node.size() == 2)) {
      if (isPosition(node.get(0)) && (node.size() == 1 || isPosition(node.get(1)))) {
        return new Span(
            node.get(0).intValue(), node.size() == 1 ? Integer.MAX_VALUE : node.get(1).intValue());
      }
    }
    return switch (node.asText()) {
      case "all" -> Span.ALL;
      case "prompt" -> Span.PROMPT;
      case "answer" -> Span.ANSWER;
      default ->
          throw members.refuse(
              "at", "\"all\", \"prompt\", \"answer\", [first], or [first, behind the last]");
    };
  }

  private static boolean isPosition(JsonNode node) {
    return node.isIntegralNumber() && node.canConvertToInt() && node.intValue() >= 0;
  }

  private static Steering steering(Members members) {
    String hook = members.text("hook", null);
    if (hook == null) {
      throw members.refuse("hook", "the name of a hook point");
    }
    List<JsonNode> values = members.array("vector");
    float[] vector = new float[values.size()];
    for (int i = 0; i < vector.length; i++) {
      String place = "%s[%s]".formatted(members.place("vector"), i);
      vector[i] = (float) Members.finite(place, values.get(i));
      if (Float.isInfinite(vector[i])) {
        throw Refusal.of(place, "a number of 32 bits", JsonFiles.describe(values.get(i)));
      }
    }
    Steering steering =
        Steering.of(hook, vector).times(members.number("factor", 1)).at(span(members));
    members.refuseOthers();
    return steering;
  }
}
