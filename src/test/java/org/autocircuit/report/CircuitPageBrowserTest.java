package org.autocircuit.report;

import static org.assertj.core.api.Assertions.assertThat;

import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import javax.imageio.ImageIO;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.AutoencoderConfig;
import org.autocircuit.model.BlockKind;
import org.autocircuit.model.MicroModelConfig;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.prune.PruneScores;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.openqa.selenium.Keys;
import org.openqa.selenium.WebElement;

/** Uses pages as people do. Skipped where there is no Chromium. */
class CircuitPageBrowserTest {

  @TempDir private static Path folder;

  private static Browser browser;
  private static PruneScores scores;
  private static Path small;
  private static Path gpt2;
  private static Path large;
  private static Path evaluated;

  @BeforeAll
  static void open() throws IOException {
    browser = Browser.open(folder);
    scores = ExamplePages.scores(ExamplePages.graph(4, 8, 8));
    small = page("small", scores);
    gpt2 = page("gpt2", ExamplePages.scores(ExamplePages.graph(12, 12, 12)));
    large = page("large", ExamplePages.scores(ExamplePages.graph(32, 32, 8)));
    evaluated = folder.resolve("evaluated.html");
    ExamplePages.evaluated(scores).write(evaluated);
  }

  private static Path page(String name, PruneScores scores) throws IOException {
    Path file = folder.resolve(name + ".html");
    ExamplePages.full(scores).write(file);
    return file;
  }

  @AfterAll
  static void close() {
    if (browser != null) {
      browser.close();
    }
  }

  @AfterEach
  void theConsoleIsSilent() {
    assertThat(browser.console()).isEmpty();
    assertThat(browser.run("return window.hurt === undefined")).isEqualTo(true);
  }

  private static void show(Path page) {
    browser.show(page, "", 1600, 1000, false);
  }

  private static int shownEdges() {
    return browser.all("#graph .edge").size();
  }

  @Test
  void textFromOutsideIsText() {
    show(small);
    assertThat(browser.find("h1").getText()).isEqualTo("The circuit of " + ExamplePages.HOSTILE);
    assertThat(browser.all("img, b, iframe")).isEmpty();
    assertThat(browser.find("#facts").getText()).contains(ExamplePages.HOSTILE);
    assertThat(browser.find("#prompts mark").getAttribute("data-tip"))
        .contains(ExamplePages.HOSTILE);
    assertThat(browser.texts("return performance.getEntriesByType('resource').map(e => e.name)"))
        .isEmpty();
  }

  @Test
  void theSliderReachesEverySize() {
    show(small);
    assertThat(shownEdges()).isEqualTo(60);
    WebElement slider = browser.find("#size");
    slider.sendKeys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT);
    assertThat(shownEdges()).isEqualTo(61);
    assertThat(slider.getAttribute("aria-valuetext")).isEqualTo("61 edges");
    WebElement edges = browser.find("#edges");
    edges.clear();
    edges.sendKeys("3", Keys.TAB);
    assertThat(shownEdges()).isEqualTo(3);
    Set<String> best = new HashSet<>();
    scores.top(3).forEach(edge -> best.add("" + scores.graph().index(edge.edge())));
    assertThat(browser.all("#graph .edge"))
        .extracting(edge -> edge.getAttribute("data-edge"))
        .containsExactlyInAnyOrderElementsOf(best);
    slider.sendKeys(Keys.END);
    assertThat(edges.getAttribute("value")).isEqualTo("" + scores.size());
    slider.sendKeys(Keys.HOME);
    assertThat(shownEdges()).isZero();
    browser.find("#smallest").click();
    assertThat(shownEdges()).isEqualTo(60);
    WebElement threshold = browser.find("#threshold");
    threshold.sendKeys(Keys.chord(Keys.CONTROL, "a"));
    threshold.sendKeys("" + scores.descending()[9] * 0.9999, Keys.TAB);
    assertThat(edges.getAttribute("value")).isEqualTo("10");
  }

  @Test
  void nodesAreFoundAndExplained() {
    show(gpt2);
    WebElement search = browser.find("#search");
    search.sendKeys("a3.1");
    assertThat(browser.all("#results button"))
        .extracting(WebElement::getText)
        .containsExactly("A3.1", "A3.10", "A3.11");
    search.sendKeys(Keys.ENTER);
    WebElement panel = browser.find("#panel");
    assertThat(panel.getText())
        .startsWith("A3.1\n×\nAttention head 1 of block 3.")
        .contains("Strongest inputs", "Strongest outputs", "weaker ones");
    assertThat(browser.address()).endsWith("#node=A3.1");
    search.sendKeys("a0.1 -> mlp 2");
    assertThat(browser.find("#results button").getText()).isEqualTo("A0.1 → MLP 2");
    search.sendKeys(Keys.ARROW_DOWN);
    browser.focused().sendKeys(Keys.ENTER);
    assertThat(panel.getText())
        .startsWith("A0.1 → MLP 2\n×")
        .contains("score", "of 32,491")
        .containsPattern("standard error\\s+0.700");
    search.sendKeys("nothing");
    assertThat(browser.find("#results").getText()).isEqualTo("Nothing is called so.");
  }

  @Test
  void whatIsChosenIsInTheAddress() {
    browser.show(gpt2, "#size=7&node=MLP+3&theme=dark&negative=false", 1600, 1000, false);
    assertThat(browser.find("#panel h2").getText()).isEqualTo("MLP 3");
    assertThat(browser.all("#graph .edge.negative")).isEmpty();
    assertThat(browser.find("#edges").getAttribute("value")).isEqualTo("7");
    assertThat(browser.find("html").getAttribute("data-theme")).isEqualTo("dark");
    browser.find("#panel .close").click();
    assertThat(browser.address()).endsWith("#size=7&negative=false&theme=dark");
    browser.show(gpt2, "#size=abc&node=none&edge=9999999&heat=x&zoom=-1", 1600, 1000, false);
    assertThat(browser.find("#panel h2").getText()).isEqualTo("How to read the picture");
    assertThat(shownEdges()).isEqualTo(60);
  }

  @Test
  void edgesStandOutUnderThePointerAndOpenOnAClick() {
    show(small);
    WebElement node = browser.find("#graph .node[data-name='A0.1']");
    browser.pointAt(node);
    assertThat(browser.find("#tip").getText()).startsWith("A0.1, attention head 1 of block 0.");
    int on = browser.all("#graph .edge.on").size();
    assertThat(on).isPositive().isLessThan(60);
    node.click();
    assertThat(browser.find("#panel h2").getText()).isEqualTo("A0.1");
    browser.find("#panel .row").click();
    assertThat(browser.find("#panel h2").getText()).contains(" → ");
    browser.run(
        "document.querySelector('#graph .edge:last-child .hit')"
            + ".dispatchEvent(new MouseEvent('click', {bubbles: true}))");
    assertThat(browser.find("#panel").getText()).contains("1 of 1,519", "It is in the circuit");
  }

  @Test
  void keysMoveFromNodeToNode() {
    show(small);
    browser.run("document.querySelector('#graph [tabindex=\"0\"]').focus()");
    assertThat(browser.focused().getAttribute("data-name")).isEqualTo("Resid Start");
    browser.focused().sendKeys(Keys.ARROW_RIGHT);
    String first = browser.focused().getAttribute("data-name");
    assertThat(first).startsWith("A0.");
    browser.focused().sendKeys(Keys.ARROW_RIGHT);
    browser.focused().sendKeys(Keys.ARROW_DOWN);
    String second = browser.focused().getAttribute("data-name");
    assertThat(second).isNotEqualTo(first);
    browser.focused().sendKeys(Keys.ENTER);
    assertThat(browser.find("#panel h2").getText()).isEqualTo(second);
    assertThat(browser.all("#graph [tabindex='0']")).hasSize(1);
    browser.run("document.querySelector('.cell[tabindex=\"0\"]').focus()");
    browser.focused().sendKeys(Keys.ARROW_RIGHT);
    browser.focused().sendKeys(Keys.ARROW_DOWN);
    browser.focused().sendKeys(Keys.ENTER);
    assertThat(browser.find("#panel h2").getText()).isEqualTo("A1.1");
  }

  @Test
  void tablesAreSortedBothWays() {
    show(small);
    List<String> titles =
        browser.all("#prompts th").stream().map(th -> th.getText().split("\n")[0]).toList();
    assertThat(titles).contains("prompt", "recovered");
    WebElement sort = browser.all("#prompts th button").get(4);
    sort.click();
    assertThat(column("#prompts", 5)).isSortedAccordingTo((a, b) -> Double.compare(b, a));
    assertThat(browser.all("#prompts th").get(4).getAttribute("aria-sort")).isEqualTo("descending");
    sort.click();
    assertThat(column("#prompts", 5)).isSorted();
    browser.all("#prompts th button").get(5).click();
    // The one without a number is last.
    browser.run("[...document.querySelectorAll('#prompts button')].at(-1).click()");
    assertThat(browser.all("#prompts tbody tr")).hasSize(30);
    assertThat(browser.find("#prompts tbody tr:last-child td:nth-child(6)").getText())
        .isEqualTo("–");
  }

  private static List<Double> column(String table, int column) {
    return browser.all(table + " tbody td:nth-child(" + column + ")").stream()
        .map(td -> Double.valueOf(td.getText().replace('−', '-')))
        .toList();
  }

  @Test
  void circuitsAreComparedAndSeenByPosition() throws IOException {
    Path page = folder.resolve("compared.html");
    ExamplePages.compared().write(page);
    browser.show(page, "#size=40", 1600, 1000, false);
    int all = shownEdges();
    assertThat(browser.all("#positions thead button"))
        .extracting(WebElement::getText)
        .containsExactly("Mary", ExamplePages.HOSTILE, "to");
    assertThat(browser.all("#positions tbody th"))
        .extracting(WebElement::getText)
        .containsExactly("heads of block 0", "MLP 0", "heads of block 1", "MLP 1", "Resid End");
    browser.all("#positions thead button").get(1).click();
    assertThat(browser.address()).endsWith("#position=1");
    assertThat(shownEdges()).isPositive().isLessThan(all);
    assertThat(browser.all("#list tbody td:nth-child(2)"))
        .extracting(WebElement::getText)
        .allMatch(name -> name.endsWith(" at 1 ' " + ExamplePages.HOSTILE + "'"));
    browser.show(page, "#size=40&other=1", 1600, 1000, false);
    browser.screenshot("compared");
    assertThat(browser.find("#positive").isDisplayed()).isFalse();
    assertThat(browser.find("#all").isDisplayed()).isTrue();
    int sum = 0;
    for (String side : List.of("both", "left", "right")) {
      String text = browser.find("#side-" + side).getText();
      int edges = Integer.parseInt(text.substring(text.lastIndexOf(' ') + 1));
      assertThat(edges).as(text).isPositive();
      assertThat(browser.all("#graph .edge." + side)).hasSizeBetween(1, edges);
      sum += side.equals("both") ? 2 * edges : edges;
    }
    assertThat(sum).isEqualTo(80);
    browser.find("#list tbody .link").click();
    assertThat(browser.find("#panel").getText())
        .contains("By other methods", "another ", ", rank ");
    assertThat(browser.barriers()).isEmpty();
  }

  @Test
  void headsShowWhereTheyLook() throws IOException {
    browser.show(small, "#node=A1.2", 1600, 1000, false);
    WebElement panel = browser.find("#panel");
    assertThat(panel.getText()).contains("Where it looks", "The last one looks at John 80.0 %");
    assertThat(browser.all(".attention rect")).hasSize(15);
    browser.pointAt(browser.all(".attention rect").get(13));
    assertThat(browser.find("#tip").getText())
        .isEqualTo("gave it to (4) looks at John (3): 80.0 %");
    browser.find("#pattern option[value='1']").click();
    assertThat(browser.address()).contains("prompt=1");
    browser.screenshot("attention");
    assertThat(browser.barriers()).isEmpty();
    browser.show(small, "#node=MLP+1", 1600, 1000, false);
    assertThat(browser.all(".attention")).isEmpty();
  }

  @Test
  void curvesAreSeenUnderEachCondition() throws IOException {
    browser.show(evaluated, "#size=60", 1600, 1000, false);
    WebElement curves = browser.find("#curves");
    assertThat(curves.getText())
        .containsPattern("CPR\\s+0.930\\s+CMD\\s+0.120")
        .contains("same degrees", "weight norms", ExamplePages.HOSTILE);
    assertThat(browser.all("#recovery .area")).hasSize(2);
    assertThat(browser.all("#recovery .curve.other")).hasSize(1);
    assertThat(browser.all("#recovery .point")).hasSize(6);
    browser.run("document.querySelector('#curves .areas .term').focus()");
    assertThat(browser.find("#tip").getText()).startsWith("Circuit performance ratio");
    assertThat(browser.find("#prompts p").getText()).contains("with the 60 edges of the measured");
    String logarithmic = browser.find("#recovery .curve.found").getAttribute("d");
    browser.find("#scale option[value=linear]").click();
    assertThat(browser.find("#recovery .curve.found").getAttribute("d")).isNotEqualTo(logarithmic);

    browser.find("#conditions tbody tr:nth-child(2) .link").click();
    assertThat(browser.address()).contains("curve=1", "scale=linear");
    assertThat(browser.all("#recovery .point")).hasSize(3);
    assertThat(curves.getText()).containsPattern("CPR\\s+0.500");
    // The nearest of the sizes that were measured.
    assertThat(browser.find("#prompts p").getText()).contains("with the 5 edges of the measured");

    browser.run("document.querySelectorAll('#curves details').forEach(d => { d.open = true; })");
    browser.find("#curve option[value='2']").click();
    browser.screenshot("noise");
    assertThat(curves.getText())
        .contains("All edges and none differ by 0.200", "shares of so small a difference mean")
        .doesNotContain("%\n");
    assertThat(browser.all("#recovery .area")).isEmpty();
    assertThat(browser.all("#curves details th"))
        .extracting(WebElement::getText)
        .doesNotContain("recovered");
    assertThat(browser.all("#prompts th"))
        .extracting(WebElement::getText)
        .doesNotContain("recovered");
    assertThat(browser.barriers()).isEmpty();
  }

  @Test
  void thePictureIsSaved() throws Exception {
    show(small);
    browser.find("#png").click();
    Path file = folder.resolve("circuit-60-edges.png");
    long end = System.nanoTime() + Duration.ofSeconds(20).toNanos();
    while (!Files.exists(file) && System.nanoTime() < end) {
      Thread.sleep(50);
    }
    BufferedImage image = ImageIO.read(file.toFile());
    assertThat(image.getWidth()).isGreaterThan(1000);
    Set<Integer> colours = new HashSet<>();
    for (int x = 0; x < image.getWidth(); x += 3) {
      for (int y = 0; y < image.getHeight(); y += 3) {
        colours.add(image.getRGB(x, y));
      }
    }
    assertThat(colours).hasSizeGreaterThan(20).contains(0xffffffff);
  }

  @Test
  void everyKindOfGraphAndOfScoresIsShown() throws IOException {
    TransformerConfig.Builder two =
        TransformerConfig.builder().nLayers(2).dModel(8).nHeads(4).dMlp(4).dVocab(10).nCtx(16);
    TransformerConfig plain = two.build();
    TransformerConfig parallel = two.blockKind(BlockKind.PARALLEL).nKeyValueHeads(1).build();
    TransformerConfig latents =
        two.blockKind(BlockKind.SEQUENTIAL)
            .autoencoders(AutoencoderConfig.of(Map.of(0, 300)).withErrorNodes(true))
            .build();
    Map<String, PruneScores> kinds = new LinkedHashMap<>();
    kinds.put("residual", ExamplePages.scores(ModelGraph.of(plain, false, false)));
    kinds.put("joint", ExamplePages.scores(ModelGraph.of(plain, true, false)));
    kinds.put("parallel", ExamplePages.scores(ModelGraph.of(parallel, true, true)));
    kinds.put("latents", ExamplePages.scores(ModelGraph.of(latents, true, true)));
    kinds.put("micro", ExamplePages.scores(ModelGraph.of(new MicroModelConfig(2), true, true)));
    ModelGraph graph = ModelGraph.of(plain, true, true);
    kinds.put("zero", PruneScores.filled(graph, 0));
    kinds.put("NaN", PruneScores.filled(graph, Double.NaN));
    double[] infinite = ExamplePages.scores(graph).toArray();
    infinite[3] = Double.POSITIVE_INFINITY;
    kinds.put("infinite", PruneScores.of(graph, infinite));
    List<String> problems = new ArrayList<>();
    for (Map.Entry<String, PruneScores> kind : kinds.entrySet()) {
      Path page = folder.resolve(kind.getKey() + ".html");
      CircuitPage.builder(kind.getValue(), kind.getKey()).build().write(page);
      browser.show(page, "#size=30&all=true", 1600, 1000, false);
      browser.screenshot("kind-" + kind.getKey());
      boolean none = kind.getKey().equals("NaN");
      assertThat(shownEdges()).as(kind.getKey()).isBetween(none ? 0 : 10, 30);
      browser.texts(PROBLEMS).forEach(problem -> problems.add(kind.getKey() + ": " + problem));
      browser.console().forEach(message -> problems.add(kind.getKey() + ": " + message));
      if (!none) {
        browser.find("#list tbody .link").click();
        assertThat(browser.find("#panel h2").getText()).contains(" → ");
      }
    }
    assertThat(problems).isEmpty();
    ModelGraph apart = ModelGraph.of(latents, true, true);
    Path page = folder.resolve("path.html");
    PruneScores path =
        PruneScores.ofCircuitNames(
            apart, List.of("Resid Start->MLP 0", "MLP 0 Latent 7->Resid End", "A0.1->MLP 1"));
    CircuitPage.builder(path, "path").build().write(page);
    browser.show(page, "#size=3", 1600, 1000, false);
    assertThat(browser.all("#graph .edge.dead")).hasSize(1);
  }

  @Test
  void nobodyIsKeptOut() throws IOException {
    for (boolean dark : List.of(false, true)) {
      for (String fragment : List.of("", "#node=A1.2", "#edge=5&size=300")) {
        browser.show(small, fragment, 1600, 1000, dark);
        browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })");
        assertThat(browser.barriers()).as("%s, dark %s", fragment, dark).isEmpty();
      }
    }
    browser.show(small, "", 400, 800, false);
    assertThat(browser.barriers()).isEmpty();
  }

  @Test
  void everythingFitsOnEveryScreen() throws IOException {
    List<String> problems = new ArrayList<>();
    for (Path page : List.of(small, gpt2, large, evaluated)) {
      for (int width : new int[] {400, 1600}) {
        for (String fragment : List.of("", "#all=true&size=400&node=A1.2", "#size=1")) {
          boolean dark = fragment.contains("node");
          browser.show(page, fragment, width, 1000, dark);
          String name = page.getFileName().toString().replace(".html", "") + "-" + width;
          browser.screenshot(name + (dark ? "-dark" : "-" + fragment.replaceAll("\\W", "")));
          for (String problem : browser.texts(PROBLEMS)) {
            problems.add(name + " " + fragment + ": " + problem);
          }
        }
      }
    }
    assertThat(problems).isEmpty();
  }

  /** Small text, boxes that overlap, curves and text that leave their places. */
  static final String PROBLEMS =
      """
      const problems = [];
      const meets = (a, b) => a.left < b.right - 0.5 && b.left < a.right - 0.5
        && a.top < b.bottom - 0.5 && b.top < a.bottom - 0.5;
      const pairs = (elements, what) => {
        const boxes = elements.map(e => [e, e.getBoundingClientRect()])
          .filter(([, box]) => box.width && box.height);
        boxes.forEach(([e, a], i) => boxes.slice(0, i).forEach(([f, b]) => {
          if (meets(a, b)) problems.push(what + ' overlap: ' + e.textContent.slice(0, 30) + ' / '
            + f.textContent.slice(0, 30));
        }));
      };
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const text = walker.currentNode;
        const parent = text.parentElement;
        if (!text.data.trim() || parent.closest('script, style, [hidden]')
          || !parent.getClientRects().length) continue;
        const matrix = parent.ownerSVGElement && parent.getScreenCTM();
        const size = parseFloat(getComputedStyle(parent).fontSize)
          * (matrix ? Math.hypot(matrix.a, matrix.b) : 1);
        if (size < 10.99) problems.push('text of ' + size + ' px: ' + text.data.slice(0, 30));
      }
      pairs([...document.querySelectorAll('#graph .node > rect')], 'nodes');
      pairs([...document.querySelectorAll('#graph .band > text')], 'bands');
      pairs([...document.querySelectorAll('.chart text')], 'labels');
      pairs([...document.querySelectorAll('header, .controls, .legend, .picture, .panel, .card')],
        'parts');
      pairs([...document.querySelectorAll('.controls input, .controls button, .controls select')]
        .filter(e => e.offsetParent), 'controls');
      document.querySelectorAll('#graph .node').forEach(node => {
        const box = node.querySelector('rect').getBoundingClientRect();
        const texts = [...node.querySelectorAll('text')];
        pairs(texts, 'texts of a node');
        texts.map(t => t.getBoundingClientRect()).forEach(t => {
          if (t.left < box.left || t.right > box.right || t.top < box.top - 2
            || t.bottom > box.bottom + 2) {
            problems.push('text leaves its node ' + node.dataset.name);
          }
        });
      });
      const {width, height} = document.getElementById('graph')?.viewBox.baseVal ?? {};
      document.querySelectorAll('#graph .line').forEach(line => {
        const box = line.getBBox();
        const stroke = parseFloat(line.getAttribute('stroke-width')) / 2;
        if (box.x < stroke || box.y < stroke || box.x + box.width > width - stroke
          || box.y + box.height > height - stroke) problems.push('a curve leaves the canvas');
      });
      if (document.documentElement.scrollWidth > innerWidth) {
        problems.push('wider than the screen: ' + document.documentElement.scrollWidth);
      }
      return [...new Set(problems)].slice(0, 20);
      """;
}
