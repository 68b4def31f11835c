package org.autocircuit.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.io.StringReader;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.stream.IntStream;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;
import org.xml.sax.InputSource;

class HeatMapTest {

  private static final HeatMap MAP =
      HeatMap.of(
              "a < b \u001b",
              List.of("block 0", "block 1"),
              List.of("Mary", "a word that is far too long", "<"),
              new double[][] {{2, 0, -1}, {Double.NaN, -0.001, 1}})
          .withNotes(List.of("the model", "what & how"));

  private static List<Element> cells(Document document) {
    NodeList rects = document.getElementsByTagName("rect");
    return IntStream.range(0, rects.getLength())
        .mapToObj(i -> (Element) rects.item(i))
        .filter(rect -> rect.getAttribute("class").equals("cell"))
        .toList();
  }

  private static Document parse(String svg) throws Exception {
    return DocumentBuilderFactory.newInstance()
        .newDocumentBuilder()
        .parse(new InputSource(new StringReader(svg)));
  }

  @Test
  void everyCellHasItsColourAndItsNumber() throws Exception {
    Document document = parse(MAP.svg());
    assertThat(cells(document))
        .extracting(cell -> cell.getAttribute("fill"))
        .containsExactly("#b35806", "#f7f7f7", "#92c5de", "#9ca3af", "#f7f7f7", "#fdb863");
    assertThat(cells(document))
        .extracting(cell -> cell.getTextContent())
        .containsExactly(
            "block 0, Mary: 2.00",
            "block 0, a word that is far too long: 0.00",
            "block 0, <: -1.00",
            "block 1, Mary: NaN",
            "block 1, a word that is far too long: 0.00",
            "block 1, <: 1.00");
    assertThat(document.getElementsByTagName("title").item(0).getTextContent())
        .isEqualTo("a < b \\u001b");
    assertThat(MAP.svg()).contains("the model", "what &amp; how", "a word that is fa…", ">-2.00<");
  }

  @Test
  void coloursGoFromBlueOverWhiteToOrange() {
    assertThat(HeatMap.colour(-2)).isEqualTo("#2166ac");
    assertThat(HeatMap.colour(-1)).isEqualTo("#2166ac");
    assertThat(HeatMap.colour(0)).isEqualTo("#f7f7f7");
    assertThat(HeatMap.colour(0.125)).isEqualTo("#fbecd7");
    assertThat(HeatMap.colour(Double.POSITIVE_INFINITY)).isEqualTo("#b35806");
  }

  @Test
  void manyColumnsAreNarrowAndNothingButZerosIsWhite() throws Exception {
    List<String> columns = Collections.nCopies(100, "x");
    HeatMap wide = HeatMap.of("wide", List.of("row"), columns, new double[1][100]);
    assertThat(cells(parse(wide.svg())))
        .hasSize(100)
        .allMatch(cell -> cell.getAttribute("fill").equals("#f7f7f7"))
        .allMatch(cell -> cell.getAttribute("width").equals("16"));
    assertThat(wide.svg()).doesNotContain(">0.00</text>\n<rect");
  }

  @Test
  void filesAreImages(@TempDir Path folder) throws Exception {
    MAP.write(folder.resolve("map.svg"));
    assertThat(folder.resolve("map.svg")).content().startsWith("<?xml").endsWith("</svg>\n");
    assertThatIllegalArgumentException().isThrownBy(() -> MAP.write(folder.resolve("map.html")));
    assertThat(folder.resolve("map.html")).doesNotExist();
  }

  @Test
  void labelsAndValuesMustFit() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> HeatMap.of("", List.of("a"), List.of("b"), new double[2][1]))
        .withMessageContaining("got 2 rows");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> HeatMap.of("", List.of("a"), List.of("b"), new double[1][2]))
        .withMessageContaining("expected rows of 1, got 2");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> HeatMap.of("", List.of("a"), List.of(), new double[1][0]));
  }
}
