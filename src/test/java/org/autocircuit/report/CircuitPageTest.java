package org.autocircuit.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.autocircuit.eval.MeanDifference;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ScoreSign;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Tests the file alone; {@link CircuitPageBrowserTest} what becomes of it in a browser. */
class CircuitPageTest {

  private static final Pattern DATA =
      Pattern.compile("<script type=\"application/json\" id=\"data\">(.*?)</script>");

  private static JsonNode data(String page) throws IOException {
    Matcher found = DATA.matcher(page);
    assertThat(found.find()).isTrue();
    return new ObjectMapper().readTree(found.group(1));
  }

  private static ByteBuffer decoded(JsonNode base64) {
    return ByteBuffer.wrap(Base64.getDecoder().decode(base64.asText()))
        .order(ByteOrder.LITTLE_ENDIAN);
  }

  @Test
  void hasEveryScoreAndStaysSmall() throws IOException {
    PruneScores gpt2 = ExamplePages.scores(ExamplePages.graph(12, 12, 12));
    assertThat(gpt2.size()).isEqualTo(32_491);
    String page = full(gpt2, 12, 3);
    assertThat(page.getBytes(StandardCharsets.UTF_8)).hasSizeLessThan(1_200_000);
    ByteBuffer scores = decoded(data(page).at("/methods/0/scores"));
    for (int i = 0; i < gpt2.size(); i++) {
      assertThat(scores.getFloat()).isEqualTo((float) gpt2.get(i));
    }
    assertThat(scores.hasRemaining()).isFalse();
    PruneScores embedded = ExamplePages.scores(ExamplePages.graph(4, 8, 8));
    assertThat(full(embedded, 20, 3).getBytes(StandardCharsets.UTF_8)).hasSizeLessThan(700_000);
  }

  /** With attention on some prompts more, and without those that all examples have. */
  private static String full(PruneScores scores, int seq, int prompts) {
    CircuitPage page = ExamplePages.full(scores);
    CircuitPage.Builder builder =
        CircuitPage.builder(scores, page.title)
            .standardErrors(scores)
            .curve(page.curves.get(0))
            .prompts(64, page.prompts.orElseThrow().rows());
    for (int prompt = 0; prompt < prompts; prompt++) {
      builder.attention(prompt, ExamplePages.attention(scores.graph(), seq));
    }
    return builder.build().html();
  }

  @Test
  void attentionIsByteByByte() throws IOException {
    PruneScores scores = ExamplePages.scores(ExamplePages.graph(1, 2, 2));
    JsonNode attention = data(ExamplePages.full(scores).html()).at("/attention/1");
    assertThat(attention.get("prompt").asInt()).isEqualTo(1);
    assertThat(attention.get("heads").toString()).isEqualTo("[\"A0.0\",\"A0.1\"]");
    ByteBuffer weights = decoded(attention.get("weights"));
    assertThat(weights.remaining()).isEqualTo(2 * 5 * 6 / 2);
    assertThat(new int[] {weights.get(15) & 255, weights.get(16), weights.get(17)})
        .containsExactly(255, 204 - 256, 51);
  }

  @Test
  void hasTheGreatestScoresOfALargeGraph() throws IOException {
    PruneScores all = ExamplePages.scores(ExamplePages.graph(32, 32, 8));
    assertThat(all.size()).isGreaterThan(PageData.MOST_EDGES);
    JsonNode method = data(CircuitPage.builder(all, "t").build().html()).at("/methods/0");
    ByteBuffer indices = decoded(method.get("indices"));
    ByteBuffer scores = decoded(method.get("scores"));
    assertThat(indices.remaining()).isEqualTo(4 * PageData.MOST_EDGES);
    for (int rank = 0; rank < 1000; rank++) {
      int index = indices.getInt();
      assertThat(scores.getFloat()).isEqualTo((float) all.get(index));
      assertThat(Math.abs(all.get(index))).isEqualTo(all.descending()[rank]);
    }
  }

  @Test
  void textStaysTextAndNothingIsLoaded() {
    String page = ExamplePages.full(ExamplePages.scores(ExamplePages.graph(2, 2, 2))).html();
    assertThat(page).doesNotContain("<img").containsOnlyOnce("\n</html>\n");
    // Data, d3 and our modules.
    assertThat(page.split("</script>", -1)).hasSize(4);
    assertThat(page)
        .contains("content=\"default-src 'none'; img-src data: blob:; style-src 'sha256-")
        .doesNotContainPattern("(?i)<link|src=\"http|@import")
        .contains("Copyright 2010-2023 Mike Bostock")
        .contains("Permission to use, copy, modify, and/or distribute");
  }

  @Test
  void whatIsNoNumberIsNull() throws IOException {
    ModelGraph graph = ExamplePages.graph(1, 2, 2);
    PruneScores scores =
        PruneScores.ofCircuitNames(
            graph, Map.of("A0.0->MLP 0", Double.NaN, "MLP 0->Resid End", 1.0));
    RecoveryCurve.Point point =
        new RecoveryCurve.Point(3, Double.NaN, 1, 1, 1, 1, List.of(Double.NaN, 2.5));
    String page =
        CircuitPage.builder(scores, "t")
            .curve(RecoveryCurve.of("m", new MeanDifference(1, 0), point, point, List.of()))
            .prompts(
                2,
                List.of(
                    new CircuitPage.Prompt(List.of("a"), List.of("b"), List.of("c"), List.of()),
                    new CircuitPage.Prompt(List.of("d"), List.of("b"), List.of("c"), List.of())))
            .build()
            .html();
    JsonNode all = data(page).at("/curves/0/all");
    assertThat(all.get("metric").isNull()).isTrue();
    assertThat(all.at("/prompts/0").isNull()).isTrue();
    assertThat(all.at("/prompts/1").asDouble()).isEqualTo(2.5);
  }

  @Test
  void sharesOfNoiseAreLeftOut() throws IOException {
    PruneScores scores = ExamplePages.scores(ExamplePages.graph(1, 2, 2));
    for (boolean clear : List.of(true, false)) {
      MeanDifference range = new MeanDifference(8.3, clear ? 1 : 5);
      CircuitPage page =
          CircuitPage.builder(scores, "t").curve(ExamplePages.curve(scores.size(), range)).build();
      JsonNode curve = data(page.html()).at("/curves/0");
      assertThat(curve.get("clear").asBoolean()).isEqualTo(clear);
      assertThat(curve.get("error").asDouble()).isEqualTo(clear ? 1 : 5);
      for (String place : List.of("/all", "/found/1", "/baselines/0/points/0")) {
        assertThat(curve.at(place + "/recovered").isNumber()).as(place).isEqualTo(clear);
      }
      assertThat(curve.at("/found/1/metric").isNumber()).isTrue();
    }
  }

  @Test
  void refusesScoresOfAnotherGraph() {
    CircuitPage.Builder page =
        CircuitPage.builder(ExamplePages.scores(ExamplePages.graph(1, 2, 2)), "t");
    PruneScores others = ExamplePages.scores(ExamplePages.graph(2, 2, 2));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> page.other("n", "none", ScoreSign.SIGNED, "", others))
        .withMessageStartingWith("expected scores of the factorised graph");
  }

  @Test
  void writesAFile(@TempDir Path folder) throws IOException {
    CircuitPage page =
        CircuitPage.builder(ExamplePages.scores(ExamplePages.graph(1, 2, 2)), "t").build();
    page.write(folder.resolve("p.html"));
    assertThat(Files.readString(folder.resolve("p.html"))).isEqualTo(page.html());
    assertThat(page)
        .hasToString("CircuitPage[t, " + ExamplePages.scores(ExamplePages.graph(1, 2, 2)) + "]");
  }
}
