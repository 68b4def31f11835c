package org.autocircuit.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.io.StringReader;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import javax.xml.parsers.DocumentBuilderFactory;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.RandomPruneScores;
import org.autocircuit.prune.ScoredEdge;
import org.junit.jupiter.api.Test;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;
import org.xml.sax.InputSource;

/** Tests the places of shared key/value heads, and what meets them. */
class GroupedPictureTest {

  private record Box(int x, int y, int width, int height, Map<String, Integer> ports) {

    boolean overlaps(Box other) {
      return x < other.x + other.width
          && other.x < x + width
          && y < other.y + other.height
          && other.y < y + height;
    }
  }

  private static TransformerConfig.Builder config(int layers, int heads, int keyValueHeads) {
    return TransformerConfig.builder()
        .nLayers(layers)
        .dModel(2 * heads)
        .nHeads(heads)
        .nKeyValueHeads(keyValueHeads)
        .dVocab(10)
        .nCtx(8);
  }

  private static Document draw(ModelGraph graph, List<ScoredEdge> edges) throws Exception {
    return DocumentBuilderFactory.newInstance()
        .newDocumentBuilder()
        .parse(new InputSource(new StringReader(CircuitPicture.of(graph, edges, "t").svg())));
  }

  private static List<Element> elements(Document document, String tag, String type) {
    NodeList all = document.getElementsByTagName(tag);
    List<Element> found = new ArrayList<>();
    for (int i = 0; i < all.getLength(); i++) {
      Element element = (Element) all.item(i);
      if (element.getAttribute("class").equals(type)) {
        found.add(element);
      }
    }
    return found;
  }

  private static int number(Element element, String attribute) {
    return Integer.parseInt(element.getAttribute(attribute));
  }

  /** The boxes by all the lines of their text that are no ports. */
  private static Map<String, Box> boxes(Document document) {
    Map<String, Box> boxes = new LinkedHashMap<>();
    for (Element node : elements(document, "g", "node")) {
      Element rect = (Element) node.getElementsByTagName("rect").item(0);
      Map<String, Integer> ports = new LinkedHashMap<>();
      List<String> lines = new ArrayList<>();
      NodeList texts = node.getElementsByTagName("text");
      for (int i = 0; i < texts.getLength(); i++) {
        Element text = (Element) texts.item(i);
        if (text.getAttribute("text-anchor").isEmpty()) {
          ports.put(text.getTextContent(), number(text, "y") - 3);
        } else {
          lines.add(text.getTextContent());
        }
      }
      boxes.put(
          String.join(" / ", lines),
          new Box(
              number(rect, "x"),
              number(rect, "y"),
              number(rect, "width"),
              number(rect, "height"),
              ports));
    }
    return boxes;
  }

  @Test
  void keysAndValuesSitOnTheKeyValueHead() throws Exception {
    ModelGraph graph = ModelGraph.of(config(2, 4, 2).build(), true, true);
    PruneScores scores =
        PruneScores.ofCircuitNames(
            graph, List.of("A0.1->A1.1.K", "MLP 0->A1.1.V", "A0.1->A1.1.Q", "A0.0->A1.3.Q"));
    Document document = draw(graph, scores.top(4));
    Map<String, Box> boxes = boxes(document);
    assertThat(boxes).hasSize(8 + 4 + 4).containsKeys("A0.1", "A1 kv 0 / heads 0, 1");
    Box shared = boxes.get("A1 kv 1 / heads 2, 3");
    assertThat(shared.ports()).containsOnlyKeys("K", "V");
    for (int head = 0; head < 4; head++) {
      assertThat(boxes.get("A1." + head).ports()).containsOnlyKeys("Q");
    }
    for (Element edge : elements(document, "path", "edge")) {
      String name = edge.getTextContent();
      boolean query = name.contains(".Q:");
      assertThat(edge.getAttribute("data-to"))
          .isEqualTo(query ? name.replaceAll(".*->|[.]Q:.*", "") : "A1 kv 1");
      Box box = query ? boxes.get(edge.getAttribute("data-to")) : shared;
      String port = query ? "Q" : name.contains(".K (kv 1: heads 2, 3): ") ? "K" : "V";
      assertThat(edge.getAttribute("d")).endsWith(" " + box.x() + " " + box.ports().get(port));
    }
    // Above the two that read it, and tied to them.
    assertThat(shared.y()).isBetween(boxes.get("A1.1").y(), boxes.get("A1.2").y());
    assertThat(elements(document, "line", "tie"))
        .filteredOn(tie -> number(tie, "x1") > shared.x())
        .extracting(tie -> number(tie, "y1") + " " + number(tie, "y2"))
        .contains(
            shared.y() + shared.height() + " " + boxes.get("A1.2").y(),
            boxes.get("A1.2").y() + shared.height() + " " + boxes.get("A1.3").y())
        .hasSize(4);
  }

  @Test
  void aKeyValueHeadIsTiedToTheReadersThatAreShown() throws Exception {
    ModelGraph graph = ModelGraph.of(config(6, 16, 4).build(), true, true);
    PruneScores scores =
        PruneScores.ofCircuitNames(
            graph, List.of("A0.1->A4.1.K", "A4.7->Resid End", "A4.8->Resid End", "MLP 0->A5.3.V"));
    Document document = draw(graph, scores.top(4));
    Map<String, Box> boxes = boxes(document);
    assertThat(boxes)
        .containsOnlyKeys(
            "A0.1",
            "MLP 0",
            "A4 kv 1 / heads 4-7",
            "A4.7",
            "A4.8",
            "A5 kv 3 / heads 12-15",
            "Resid End");
    assertThat(elements(document, "line", "tie")).hasSize(1);
    assertThat(boxes.get("A4 kv 1 / heads 4-7").y()).isLessThan(boxes.get("A4.7").y());
  }

  @Test
  void oneKeyValueHeadIsAboveAllHeads() throws Exception {
    ModelGraph graph = ModelGraph.of(config(2, 8, 1).build(), true, true);
    Map<String, Box> boxes = boxes(draw(graph, RandomPruneScores.of(graph, 1).top(5)));
    assertThat(boxes.keySet()).contains("A0 kv 0 / heads 0-7", "A1 kv 0 / heads 0-7");
    assertThat(boxes.get("A1 kv 0 / heads 0-7").y()).isLessThan(boxes.get("A1.0").y());
  }

  @Test
  void whatIsNotSharedHasNoBoxOfItsOwn() throws Exception {
    TransformerConfig grouped = config(2, 4, 2).build();
    for (ModelGraph graph :
        List.of(
            ModelGraph.of(grouped, true, true).ungroupKeyValues(),
            ModelGraph.of(grouped, true, false),
            ModelGraph.of(grouped, false, true),
            ModelGraph.of(config(2, 4, 4).build(), true, true))) {
      Document document = draw(graph, RandomPruneScores.of(graph, 1).top(8));
      assertThat(boxes(document).keySet()).noneMatch(name -> name.contains("kv"));
      assertThat(elements(document, "line", "tie")).isEmpty();
    }
    Map<String, Box> ungrouped =
        boxes(draw(ModelGraph.of(grouped, true, true).ungroupKeyValues(), List.of()));
    assertThat(ungrouped.get("A1.3").ports()).containsOnlyKeys("Q", "K", "V");
  }

  @Test
  void longNamesTakeTwoLines() throws Exception {
    AutoencoderConfig autoencoders = AutoencoderConfig.of(Map.of(1, 3000)).withErrorNodes(true);
    ModelGraph graph =
        ModelGraph.of(config(12, 4, 2).autoencoders(autoencoders).build(), true, true);
    PruneScores scores =
        PruneScores.ofCircuitNames(
            graph, List.of("MLP 1 Latent 2911->A11.1.K", "MLP 1 Error->MLP 10"));
    Document document = draw(graph, scores.top(2));
    assertThat(boxes(document))
        .containsOnlyKeys("MLP 1 / Latent 2911", "MLP 1 Error", "MLP 10", "A11 kv 1 / heads 2, 3");
    assertThat(elements(document, "path", "edge"))
        .extracting(edge -> edge.getAttribute("data-from"))
        .contains("MLP 1 Latent 2911");
  }

  @Test
  void edgesOfAnotherGraphAreRefused() {
    ModelGraph graph = ModelGraph.of(config(2, 4, 2).build(), true, true);
    List<ScoredEdge> edges = List.of(new ScoredEdge(graph.edge("A0.1->A1.1.V"), 1));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> CircuitPicture.of(graph.ungroupKeyValues(), edges, "t"))
        .withMessageContaining("'A0.1->A1.1.V (kv 1: heads 2, 3)' belongs to a graph");
  }

  @Test
  void boxesDoNotOverlap() throws Exception {
    for (BlockKind kind : BlockKind.values()) {
      for (int keyValueHeads : new int[] {1, 2, 4, 8}) {
        TransformerConfig model = config(4, 8, keyValueHeads).blockKind(kind).build();
        for (OptionalInt positions : List.of(OptionalInt.empty(), OptionalInt.of(3))) {
          ModelGraph graph =
              positions.isPresent()
                  ? ModelGraph.of(model, true, true, positions.getAsInt())
                  : ModelGraph.of(model, true, true);
          for (int n : new int[] {1, 6, 40, 200}) {
            Document document = draw(graph, RandomPruneScores.of(graph, n).top(n));
            List<Box> boxes = List.copyOf(boxes(document).values());
            assertThat(boxes).hasSize(elements(document, "g", "node").size());
            for (int i = 0; i < boxes.size(); i++) {
              for (int j = 0; j < i; j++) {
                assertThat(boxes.get(i).overlaps(boxes.get(j))).isFalse();
              }
            }
          }
        }
      }
    }
  }
}
