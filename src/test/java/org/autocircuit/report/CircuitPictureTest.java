package org.autocircuit.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.io.IOException;
import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import javax.xml.parsers.DocumentBuilderFactory;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.RandomPruneScores;
import org.autocircuit.prune.ScoredEdge;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;
import org.xml.sax.InputSource;

class CircuitPictureTest {

  private static ModelConfig config(int layers) {
    return TransformerConfig.builder()
        .nLayers(layers)
        .dModel(8)
        .nHeads(4)
        .dHead(2)
        .dMlp(16)
        .dVocab(10)
        .nCtx(8)
        .build();
  }

  private static Document parse(String svg) throws Exception {
    return DocumentBuilderFactory.newInstance()
        .newDocumentBuilder()
        .parse(new InputSource(new StringReader(svg)));
  }

  private static long count(Document document, String tag, String type) {
    NodeList elements = document.getElementsByTagName(tag);
    long count = 0;
    for (int i = 0; i < elements.getLength(); i++) {
      count += ((Element) elements.item(i)).getAttribute("class").equals(type) ? 1 : 0;
    }
    return count;
  }

  @Test
  void titlesAndScoresThatNoXmlHoldsGiveAValidPicture() throws Exception {
    ModelGraph graph = ModelGraph.of(config(1), true, true);
    List<ScoredEdge> edges =
        List.of(
            new ScoredEdge(graph.edges().get(0), 1),
            new ScoredEdge(graph.edges().get(1), Double.NaN));
    String svg = CircuitPicture.of(graph, edges, "\u001b[31m red \u0000 \ud800 \n").svg();
    Document document = parse(svg);
    assertThat(document.getElementsByTagName("title").item(0).getTextContent())
        .isEqualTo("\\u001b[31m red \\u0000 \\ud800 \\n");
    assertThat(svg).doesNotContain("\"NaN\"");
    assertThat(count(document, "path", "edge")).isEqualTo(2);
  }

  @Test
  void drawsAllNodesOfASmallGraph() throws Exception {
    ModelGraph graph = ModelGraph.of(config(2), true, true);
    PruneScores scores =
        PruneScores.ofCircuitNames(
            graph, java.util.Map.of("A0.1->A1.2.K", 2.0, "MLP 1->Resid End", -1.0));
    Document document = parse(CircuitPicture.of(graph, scores.top(2), "a < b & \"c\"").svg());
    // Resid Start, 8 heads, 2 MLPs and Resid End.
    assertThat(count(document, "g", "node")).isEqualTo(12);
    assertThat(count(document, "path", "edge")).isEqualTo(2);
    assertThat(document.getElementsByTagName("title").item(0).getTextContent())
        .isEqualTo("a < b & \"c\"");
    // The greatest edge is drawn last and widest.
    Element widest = (Element) document.getElementsByTagName("path").item(1);
    assertThat(widest.getAttribute("stroke-width")).isEqualTo("7.00");
    assertThat(widest.getTextContent()).isEqualTo("A0.1->A1.2.K: +2.0000");
    assertThat(widest.hasAttribute("stroke-dasharray")).isFalse();
    Element negative = (Element) document.getElementsByTagName("path").item(0);
    assertThat(negative.hasAttribute("stroke-dasharray")).isTrue();
  }

  @Test
  void drawsOnlyNodesWithEdgesOfALargeGraph() throws Exception {
    ModelGraph graph = ModelGraph.of(config(12), true, true);
    List<ScoredEdge> edges =
        PruneScores.ofCircuitNames(graph, List.of("Resid Start->A3.0.Q", "A3.0->MLP 7")).top(2);
    Document document = parse(CircuitPicture.of(graph, edges, "two").svg());
    assertThat(count(document, "g", "node")).isEqualTo(3);
  }

  @Test
  void drawsEveryKindOfGraph() throws Exception {
    for (ModelGraph graph :
        List.of(
            ModelGraph.of(config(2), true, false),
            ModelGraph.of(config(2), true, true, 3),
            ModelGraph.of(config(2), false, false))) {
      CircuitPicture picture =
          CircuitPicture.of(graph, RandomPruneScores.of(graph, 1).top(10), "t");
      assertThat(count(parse(picture.svg()), "path", "edge")).isEqualTo(10);
    }
    ModelGraph graph = ModelGraph.of(config(2), true, true, 3);
    assertThat(CircuitPicture.of(graph, RandomPruneScores.of(graph, 1).top(1), "t").svg())
        .contains(" at position ");
  }

  @Test
  void writesAnImage(@TempDir Path folder) throws IOException {
    ModelGraph graph = ModelGraph.of(config(1), true, true);
    CircuitPicture picture = CircuitPicture.of(graph, RandomPruneScores.of(graph, 1).top(3), "t");
    picture.write(folder.resolve("p.SVG"));
    assertThat(Files.readString(folder.resolve("p.SVG"))).startsWith("<?xml");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> picture.write(folder.resolve("p.html")))
        .withMessageContaining("must end in .svg, got ");
  }
}
