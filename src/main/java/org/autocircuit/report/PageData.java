package org.autocircuit.report;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Base64;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.IntFunction;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.DestNode;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcNode;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ScoredEdge;
import org.autocircuit.prune.VerifiedScores;
import org.autocircuit.prune.VerifiedScores.VerifiedEdge;

/** Writes what a page shows as JSON; {@code page/data.js} reads it, and names each field. */
final class PageData {

  /** Scores of so many edges are in a page at most. */
  static final int MOST_EDGES = 250_000;

  private PageData() {}

  static String of(CircuitPage page) {
    ObjectNode root = StrictJson.MAPPER.createObjectNode();
    addHead(root, page.title, page.facts);
    ModelGraph graph = page.methods.get(0).scores().graph();
    addGraph(root.putObject("graph"), graph);
    page.positions.ifPresent(names -> addPositions(root, graph, names));
    ArrayNode methods = root.putArray("methods");
    page.methods.forEach(method -> addMethod(methods.addObject(), method));
    page.standardErrors.ifPresent(
        errors -> addErrors((ObjectNode) methods.get(0), page.methods.get(0).scores(), errors));
    page.verified.ifPresent(verified -> addVerified(root, verified));
    int prompts = page.prompts.map(some -> some.rows().size()).orElse(0);
    ArrayNode curves = root.putArray("curves");
    page.curves.forEach(curve -> addCurve(curves.addObject(), curve, prompts));
    page.smallest.ifPresent(smallest -> addSmallest(root.putObject("smallest"), smallest));
    page.prompts.ifPresent(
        some ->
            addPrompts(
                root.putObject("prompts").put("of", some.of()).putArray("rows"), some.rows()));
    ArrayNode attention = root.putArray("attention");
    page.attention.forEach(some -> addAttention(attention.addObject(), some));
    page.engine.ifPresent(engine -> root.set("engine", read(engine)));
    return StrictJson.text(root);
  }

  private static JsonNode read(String json) {
    try {
      return StrictJson.MAPPER.readTree(json);
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("engine: " + StrictJson.notValid(e), e);
    }
  }

  static void addHead(ObjectNode root, String title, Map<String, String> facts) {
    root.put("title", VisibleText.of(title));
    ArrayNode pairs = root.putArray("facts");
    facts.forEach(
        (name, text) -> pairs.addArray().add(VisibleText.of(name)).add(VisibleText.of(text)));
  }

  private static void addGraph(ObjectNode json, ModelGraph graph) {
    json.put("edges", graph.nEdges()).put("positions", graph.seqLen().orElse(0));
    ArrayNode srcs = json.putArray("srcs");
    for (SrcNode src : graph.srcs()) {
      srcs.addArray()
          .add(src.name())
          .add(src.layer())
          .add(src.headIdx().orElse(-1))
          .add(block(src.moduleName()));
    }
    ArrayNode dests = json.putArray("dests");
    for (DestNode dest : graph.dests()) {
      ArrayNode node =
          dests
              .addArray()
              .add(dest.name())
              .add(dest.layer())
              .add(dest.headIdx().orElse(-1))
              .add(block(dest.moduleName()));
      if (!dest.queryHeads().isEmpty()) {
        node.add(dest.queryHeads().get(0)).add(dest.queryHeads().size());
      }
    }
    ArrayNode modules = json.putArray("modules");
    for (DestModule module : graph.destModules()) {
      modules
          .addArray()
          .add(module.offset())
          .add(module.nDests())
          .add(module.inStart())
          .add(module.nSrcs())
          .add(module.firstDest());
    }
  }

  /** The number in {@code blocks.3.hook_q_input}; -1 where there is none. */
  private static int block(String module) {
    String[] parts = module.split("\\.", 3);
    return parts.length == 3 && parts[0].equals("blocks") ? Integer.parseInt(parts[1]) : -1;
  }

  private static void addPositions(ObjectNode root, ModelGraph graph, IntFunction<String> names) {
    ArrayNode positions = root.putArray("positions");
    for (int position = 0; position < graph.seqLen().orElse(0); position++) {
      positions.add(VisibleText.of(names.apply(position)));
    }
  }

  private static void addMethod(ObjectNode json, CircuitPage.Method method) {
    json.put("name", VisibleText.of(method.name())).put("unit", method.unit());
    json.put("sign", method.sign().name().toLowerCase(Locale.ROOT));
    json.put("meaning", VisibleText.of(method.meaning()));
    PruneScores scores = method.scores();
    if (scores.size() <= MOST_EDGES) {
      json.put("scores", floats(scores.toFloatArray()));
      return;
    }
    List<ScoredEdge> top = scores.top(MOST_EDGES);
    int[] indices = new int[top.size()];
    float[] values = new float[top.size()];
    for (int i = 0; i < values.length; i++) {
      indices[i] = scores.graph().index(top.get(i).edge());
      values[i] = (float) top.get(i).score();
    }
    json.put("indices", ints(indices)).put("scores", floats(values));
  }

  /** Of the same edges as the scores. */
  private static void addErrors(ObjectNode json, PruneScores scores, PruneScores errors) {
    if (scores.size() <= MOST_EDGES) {
      json.put("errors", floats(errors.toFloatArray()));
      return;
    }
    List<ScoredEdge> top = scores.top(MOST_EDGES);
    float[] values = new float[top.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) errors.get(scores.graph().index(top.get(i).edge()));
    }
    json.put("errors", floats(values));
  }

  private static String ints(int[] values) {
    byte[] bytes = new byte[Integer.BYTES * values.length];
    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asIntBuffer().put(values);
    return Base64.getEncoder().encodeToString(bytes);
  }

  static String floats(float[] values) {
    byte[] bytes = new byte[Float.BYTES * values.length];
    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().put(values);
    return Base64.getEncoder().encodeToString(bytes);
  }

  private static void addVerified(ObjectNode root, VerifiedScores verified) {
    ArrayNode exact = root.putArray("exact");
    for (List<VerifiedEdge> edges : List.of(verified.top(), verified.sample())) {
      for (VerifiedEdge edge : edges) {
        int index = verified.estimates().graph().index(edge.edge());
        add(exact.addArray().add(index), edge.exact());
      }
    }
    root.put("verified", verified.toString());
  }

  private static void addCurve(ObjectNode json, RecoveryCurve curve, int prompts) {
    boolean clear = curve.range.isClear();
    json.put("name", VisibleText.of(curve.name));
    json.put("conditions", VisibleText.of(curve.conditions)).put("metric", curve.metric);
    put(json, "range", curve.range.value());
    put(json, "error", curve.range.standardError());
    json.put("clear", clear);
    addPoint(json.putObject("all"), curve.all, clear, prompts);
    addPoint(json.putObject("none"), curve.none, clear, prompts);
    ArrayNode found = json.putArray("found");
    curve.found.forEach(point -> addPoint(found.addObject(), point, clear, prompts));
    ArrayNode baselines = json.putArray("baselines");
    curve.baselines.forEach(
        (name, points) -> {
          ArrayNode sizes = baselines.addObject().put("name", name).putArray("points");
          points.forEach(point -> addPoint(sizes.addObject(), point, clear, 0));
        });
    put(json, "cpr", clear ? curve.performanceRatio : Double.NaN);
    put(json, "cmd", clear ? curve.modelDistance : Double.NaN);
  }

  /** Shares of what is no clear difference are left out. */
  private static void addPoint(
      ObjectNode json, RecoveryCurve.Point point, boolean clear, int prompts) {
    json.put("edges", point.edges());
    put(json, "metric", point.metric());
    put(json, "error", point.standardError());
    put(json, "recovered", clear ? point.recovered() : Double.NaN);
    put(json, "kl", point.klDivergence());
    put(json, "accuracy", point.accuracy());
    if (prompts > 0 && !point.ofPrompts().isEmpty()) {
      ArrayNode values = json.putArray("prompts");
      point.ofPrompts().stream().limit(prompts).forEach(value -> add(values, value));
    }
  }

  private static void addSmallest(ObjectNode json, CircuitPage.Smallest smallest) {
    put(json, "share", smallest.share());
    json.put("edges", smallest.edges());
    put(json, "recovered", smallest.recovered());
    put(json, "tested", smallest.tested());
  }

  static void addPrompts(ArrayNode json, List<CircuitPage.Prompt> prompts) {
    for (CircuitPage.Prompt prompt : prompts) {
      ObjectNode row = json.addObject();
      addTexts(row.putArray("clean"), prompt.clean());
      addTexts(row.putArray("corrupt"), prompt.corrupt());
      addTexts(row.putArray("answers"), prompt.answers());
      addTexts(row.putArray("wrong"), prompt.wrongAnswers());
    }
  }

  /** Each head's weights one after another, rows of queries up to themselves, 255 for 1. */
  private static void addAttention(ObjectNode json, CircuitPage.Attention attention) {
    json.put("prompt", attention.prompt());
    attention.heads().keySet().forEach(json.putArray("heads")::add);
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (float[][] rows : attention.heads().values()) {
      for (int query = 0; query < rows.length; query++) {
        for (int key = 0; key <= query; key++) {
          bytes.write(Math.round(255 * Math.min(Math.max(rows[query][key], 0), 1)));
        }
      }
    }
    json.put("weights", Base64.getEncoder().encodeToString(bytes.toByteArray()));
  }

  private static void addTexts(ArrayNode array, List<String> texts) {
    texts.forEach(text -> array.add(VisibleText.of(text)));
  }

  /** JSON has no numbers that are not finite; null stands for them. */
  static void put(ObjectNode json, String name, double value) {
    if (Double.isFinite(value)) {
      json.put(name, rounded(value));
    } else {
      json.putNull(name);
    }
  }

  private static void add(ArrayNode json, double value) {
    if (Double.isFinite(value)) {
      json.add(rounded(value));
    } else {
      json.addNull();
    }
  }

  /** Few digits: nobody sees more, and they would take space. */
  private static float rounded(double value) {
    return (float) value;
  }
}
