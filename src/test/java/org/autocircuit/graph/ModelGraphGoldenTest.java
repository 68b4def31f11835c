package org.autocircuit.graph;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.Stream;
import org.autocircuit.golden.GoldenCase;
import org.autocircuit.golden.GoldenOp;
import org.autocircuit.golden.GoldenTensor;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The graph of every case of the reference data, compared field by field. */
class ModelGraphGoldenTest {

  static Stream<GoldenCase> cases() {
    return GoldenCase.all().stream();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void nodesEdgesAndModulesAreThoseOfTheReference(GoldenCase golden) {
    ModelGraph graph = supported(golden);
    JsonNode expected = golden.json().get("graph");

    List<JsonNode> srcs = list(expected.get("srcs"));
    assertThat(graph.srcs()).hasSameSizeAs(srcs);
    for (int i = 0; i < srcs.size(); i++) {
      assertNode(graph.srcs().get(i), srcs.get(i));
      assertThat(graph.srcs().get(i).srcIdx()).isEqualTo(srcs.get(i).get("src_idx").asInt());
    }
    List<JsonNode> dests = list(expected.get("dests"));
    List<DestNode> sorted = new ArrayList<>(graph.dests());
    sorted.sort(
        Comparator.comparingInt(DestNode::layer)
            .thenComparing(DestNode::moduleName)
            .thenComparing(dest -> dest.headIdx().orElse(-1)));
    assertThat(sorted).hasSameSizeAs(dests);
    for (int i = 0; i < dests.size(); i++) {
      assertNode(sorted.get(i), dests.get(i));
      assertThat(sorted.get(i).minSrcIdx()).isEqualTo(dests.get(i).get("min_src_idx").asInt());
    }

    assertThat(graph.nEdges()).isEqualTo(expected.get("n_edges").asInt());
    assertThat(graph.maskSize()).isEqualTo(graph.nEdges());
    List<String> names = new ArrayList<>();
    list(expected.get("edge_names")).forEach(name -> names.add(name.asText()));
    assertThat(graph.edges().stream().map(Edge::name).distinct().sorted().toList())
        .isEqualTo(names);
    assertThat(graph.graphEdges().seqDim()).isEqualTo(expected.get("seq_dim").asInt());

    JsonNode destModules = expected.get("dest_modules");
    assertThat(graph.destModules()).hasSize(destModules.size());
    for (DestModule module : graph.destModules()) {
      JsonNode entry = destModules.get(module.moduleName());
      assertThat(module.maskShape()).as(module.moduleName()).isEqualTo(longs(entry, "mask_shape"));
      assertThat(new long[] {module.inStart(), module.inStop()}).isEqualTo(longs(entry, "in_srcs"));
    }
    JsonNode srcModules = expected.get("src_modules");
    assertThat(graph.srcModules()).hasSize(srcModules.size());
    for (SrcModule module : graph.srcModules()) {
      assertThat(new long[] {module.srcStart(), module.srcStop()})
          .as(module.moduleName())
          .isEqualTo(longs(srcModules.get(module.moduleName()), "src_idxs"));
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void indicesNamesAndViewsAgree(GoldenCase golden) {
    ModelGraph graph = supported(golden);
    Set<Edge> seen = new HashSet<>();
    for (int i = 0; i < graph.nEdges(); i++) {
      Edge edge = graph.edge(i);
      assertThat(seen.add(edge)).isTrue();
      assertThat(graph.index(edge)).isEqualTo(i);
      assertThat(
              graph.index(
                  edge.name()
                      + (edge.position().isPresent() ? "@" + edge.position().getAsInt() : "")))
          .isEqualTo(i);
      assertThat(graph.indices(edge.name())).contains(i);
      assertThat(graph.edges(edge.name())).contains(edge);
      assertThat(graph.edges().indexOf(edge)).isEqualTo(i);
      assertThat(edge.dest().moduleName()).isEqualTo(graph.destModule(i).moduleName());
    }
    GraphEdges all = graph.graphEdges();
    List<Edge> byPosition = new ArrayList<>();
    all.edgeDict()
        .forEach(
            (position, edges) -> {
              for (int i = 0; i < edges.size(); i++) {
                assertThat(edges.get(i).position()).isEqualTo(position);
                assertThat(edges.indexOf(edges.get(i))).isEqualTo(i);
              }
              byPosition.addAll(edges);
            });
    assertThat(byPosition).containsExactlyInAnyOrderElementsOf(graph.edges());
    assertThat(all.nodes()).hasSize(graph.srcs().size() + graph.dests().size());
  }

  @ParameterizedTest
  @MethodSource("cases")
  void edgesSelectTheMaskValuesOfTheReference(GoldenCase golden) {
    ModelGraph graph = supported(golden);
    Assumptions.assumeFalse(golden.referenceFailsToPatch(), "the reference has no masks here");
    for (GoldenOp op : golden.ops("patch_edges")) {
      List<Edge> edges = new ArrayList<>();
      for (JsonNode edge : op.param("edges")) {
        edges.add(graph.edge(graph.index(GoldenCase.edgeName(edge))));
      }
      assertMasks(EdgeSet.of(graph, edges), op);
    }
    for (GoldenOp op : golden.ops("patch_edges_by_name")) {
      List<String> names = new ArrayList<>();
      // Unknown names are errors here and ignored there.
      op.param("edge_names").forEach(name -> names.add(name.asText()));
      names.remove("no such edge->nowhere");
      assertMasks(EdgeSet.ofNames(graph, names), op);
    }
  }

  private static void assertMasks(EdgeSet edges, GoldenOp op) {
    float[] mask = edges.mask(1, 0);
    for (DestModule module : edges.graph().destModules()) {
      GoldenTensor expected = op.outputByModule("masks").get(module.moduleName());
      assertThat(Arrays.copyOfRange(mask, module.offset(), module.end()))
          .as("%s %s", op, module.moduleName())
          .isEqualTo(expected.floats());
    }
  }

  private static ModelGraph supported(GoldenCase golden) {
    Optional<String> reason = golden.unsupported();
    reason.ifPresent(text -> System.out.println("skipped " + golden + ": " + text));
    Assumptions.assumeTrue(reason.isEmpty(), () -> golden + ": " + reason.orElseThrow());
    return golden.referenceGraph();
  }

  private static void assertNode(Node node, JsonNode expected) {
    assertThat(node.name()).isEqualTo(expected.get("name").asText());
    assertThat(node.moduleName()).as(node.name()).isEqualTo(expected.get("module_name").asText());
    assertThat(node.layer()).as(node.name()).isEqualTo(expected.get("layer").asInt());
    assertThat(node.headIdx()).as(node.name()).isEqualTo(optionalInt(expected, "head_idx"));
    assertThat(node.headDim()).as(node.name()).isEqualTo(optionalInt(expected, "head_dim"));
    assertThat(node.weight())
        .as(node.name())
        .isEqualTo(
            Optional.ofNullable(expected.get("weight"))
                .filter(JsonNode::isTextual)
                .map(JsonNode::asText));
    assertThat(node.weightHeadDim())
        .as(node.name())
        .isEqualTo(optionalInt(expected, "weight_head_dim"));
  }

  private static OptionalInt optionalInt(JsonNode node, String key) {
    JsonNode value = node.get(key);
    return value.isNull() ? OptionalInt.empty() : OptionalInt.of(value.asInt());
  }

  private static long[] longs(JsonNode node, String key) {
    return list(node.get(key)).stream().mapToLong(JsonNode::asLong).toArray();
  }

  private static List<JsonNode> list(JsonNode array) {
    List<JsonNode> list = new ArrayList<>();
    array.forEach(list::add);
    return list;
  }
}
