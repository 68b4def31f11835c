package org.autocircuit.explore;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.BitSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.prune.RandomPruneScores;
import org.autocircuit.prune.ScoreSign;
import org.autocircuit.report.Browser;
import org.autocircuit.text.Circuit;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.NextToken;
import org.autocircuit.text.Patched;
import org.autocircuit.text.TextModel;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.openqa.selenium.By;
import org.openqa.selenium.Keys;
import org.openqa.selenium.StaleElementReferenceException;
import org.openqa.selenium.WebElement;

/** Tries circuits in a browser as people do. Skipped where there is no Chromium. */
class ExploreBrowserTest {

  private static final Duration PATIENCE = Duration.ofSeconds(30);
  private static final String PROMPTS =
      "#clean=When+Mary+and+John+went+to+the+store%2C+John+gave+a+drink+to"
          + "&corrupt=When+Mary+and+John+went+to+the+store%2C+Mary+gave+a+drink+to";

  @TempDir private static Path folder;

  private static Browser browser;
  private static TestExploration exploration;

  @BeforeAll
  static void open() {
    browser = Browser.open(folder);
    exploration =
        new TestExploration(
            ExampleModel.open(), settings -> settings.method("random", (a, p) -> random()));
  }

  private static Scored random() {
    return new Scored(
        "random numbers",
        "none",
        ScoreSign.UNSIGNED,
        "They say nothing.",
        RandomPruneScores.of(exploration.model.graph(), 1));
  }

  @AfterAll
  static void close() {
    if (browser != null) {
      browser.close();
      exploration.close();
    }
  }

  @AfterEach
  void theConsoleIsSilent() {
    assertThat(browser.console()).isEmpty();
    assertThat(browser.run("return window.hurt === undefined")).isEqualTo(true);
  }

  private static void show(String fragment) {
    show(fragment, 1600, 1000, false);
  }

  private static void show(String fragment, int width, int height, boolean dark) {
    browser.show(exploration.server.uri() + fragment, width, height, dark);
    await(() -> !browser.all("#next[data-run]").isEmpty());
  }

  private static void await(BooleanSupplier condition) {
    long end = System.nanoTime() + PATIENCE.toNanos();
    while (!isTrue(condition)) {
      if (System.nanoTime() > end) {
        throw new AssertionError("waited in vain; the page: " + browser.find("body").getText());
      }
      try {
        Thread.sleep(10);
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
    }
  }

  private static boolean isTrue(BooleanSupplier condition) {
    try {
      return condition.getAsBoolean();
    } catch (StaleElementReferenceException e) {
      return false; // the page has made another one meanwhile
    }
  }

  /** Does something, and waits for the run that it asks for. */
  private static void andRun(Runnable deed) {
    int runs = runs();
    deed.run();
    await(() -> runs() > runs && "done".equals(browser.find("#next").getAttribute("data-state")));
  }

  private static int runs() {
    return Integer.parseInt(browser.find("#next").getAttribute("data-run"));
  }

  private static Patched expected(EdgeSet patched) {
    return exploration.model.patch(TestExploration.PROMPT, TestExploration.CORRUPT, patched);
  }

  /** The table of tokens says what the library does. */
  private static void assertShown(Patched expected) {
    List<WebElement> rows = browser.all("#next tbody tr");
    assertThat(rows).hasSizeGreaterThanOrEqualTo(6);
    for (WebElement row : rows) {
      long id = Long.parseLong(row.getAttribute("data-id"));
      List<String> cells =
          row.findElements(By.tagName("td")).stream().map(WebElement::getText).toList();
      NextToken plain = expected.clean().get(id);
      NextToken patched = expected.patched().get(id);
      assertThat(cells.get(0)).isEqualTo(percent(plain.probability()));
      assertThat(cells.get(1)).isEqualTo(percent(patched.probability()));
      assertThat(cells.get(2).replace('−', '-'))
          .isEqualTo("%s → %s".formatted(three(plain.logit()), three(patched.logit())));
    }
  }

  private static String percent(double share) {
    return String.format(Locale.ROOT, "%.1f %%", 100 * share);
  }

  /** Three digits, as JavaScript's toPrecision gives them. */
  private static String three(double value) {
    return new BigDecimal(value).round(new MathContext(3, RoundingMode.HALF_UP)).toPlainString();
  }

  private static EdgeSet circuit(int size) {
    return exploration.model.circuit(exploration.scores, size).edges();
  }

  private static EdgeSet from(String head) {
    Set<Edge> edges =
        exploration.model.graph().edges().stream()
            .filter(edge -> edge.src().name().equals(head))
            .collect(Collectors.toSet());
    return EdgeSet.of(exploration.model.graph(), edges);
  }

  private static EdgeSet union(EdgeSet one, EdgeSet other) {
    BitSet bits = new BitSet();
    one.indices().forEach(bits::set);
    other.indices().forEach(bits::set);
    return EdgeSet.ofIndices(one.graph(), bits);
  }

  @Test
  void theCircuitThatIsShownRuns() {
    show(PROMPTS + "&size=40");
    assertShown(expected(circuit(40).complement()));
    andRun(() -> browser.find("#size").sendKeys(Keys.PAGE_UP));
    int size = Integer.parseInt(browser.find("#edges").getAttribute("value"));
    assertThat(size).isEqualTo(50);
    assertShown(expected(circuit(size).complement()));
    assertThat(browser.find("#next [role=status]").getText()).startsWith("50 edges kept, 1,469 ");
  }

  @Test
  void aClickOnAnEdgePatchesIt() {
    show(PROMPTS + "&size=40&base=model");
    assertShown(expected(EdgeSet.none(exploration.model.graph())));
    WebElement edge = browser.find("#graph .edge:last-child");
    int index = Integer.parseInt(edge.getAttribute("data-edge"));
    andRun(() -> click("#graph .edge:last-child .hit"));
    assertShown(expected(EdgeSet.of(exploration.model.graph(), index)));
    assertThat(edge.getAttribute("class")).contains("cut");
    assertThat(browser.find(".chips").getText()).contains("patched A3.0 → Resid End");
    assertThat(browser.address()).contains("hand=-" + index);
    andRun(() -> click("#graph .edge:last-child .hit"));
    assertShown(expected(EdgeSet.none(exploration.model.graph())));
    assertThat(edge.getAttribute("class")).doesNotContain("cut");
  }

  private static void click(String selector) {
    browser.run(
        "document.querySelector(arguments[0])"
            + ".dispatchEvent(new MouseEvent('click', {bubbles: true}))",
        selector);
  }

  @Test
  void headsAndBlocksArePatchedToo() {
    show(PROMPTS + "&size=40");
    EdgeSet outside = circuit(40).complement();
    andRun(() -> browser.find("#graph .node[data-name='A3.0']").click());
    assertShown(expected(union(outside, from("A3.0"))));
    assertThat(browser.find("#panel h2").getText()).isEqualTo("A3.0");
    andRun(() -> click("#graph .band:nth-child(1) text"));
    EdgeSet block = from("MLP 0");
    for (int head = 0; head < 8; head++) {
      block = union(block, from("A0." + head));
    }
    assertShown(expected(union(union(outside, from("A3.0")), block)));
    assertThat(browser.find("#block-0").getAttribute("aria-pressed")).isEqualTo("true");
    andRun(() -> browser.find("#block-0").sendKeys(Keys.ENTER));
    andRun(() -> browser.find("#patch").click());
    assertShown(expected(outside));
    assertThat(browser.all(".chip")).isEmpty();
  }

  @Test
  void promptsAreTyped() {
    show(PROMPTS + "&size=40&base=model&hand=-A3.0");
    String prompt = TestExploration.PROMPT.replace("Mary", "Helen");
    WebElement clean = browser.find("#clean");
    andRun(
        () -> {
          browser.run("arguments[0].value = arguments[1]", clean, prompt);
          clean.sendKeys(" ", Keys.BACK_SPACE, Keys.TAB);
        });
    assertShown(exploration.model.patch(prompt, TestExploration.CORRUPT, from("A3.0")));
    assertThat(browser.find("#difference").getText()).contains("(Helen less ");
    andRun(() -> browser.find("#ablation").sendKeys("zeros"));
    Circuit circuit = Circuit.of(from("A3.0").complement()).withAblation(BatchAblation.ZERO);
    assertShown(exploration.model.run(circuit, prompt, TestExploration.CORRUPT));
  }

  @Test
  void changesAreTakenBackAndMadeOnceMore() {
    show(PROMPTS + "&size=40&base=model");
    assertThat(browser.find("#undo").isEnabled()).isFalse();
    andRun(() -> browser.find("#graph .node[data-name='A3.0']").click());
    andRun(() -> browser.find("#block-1").click());
    andRun(() -> browser.find("#base").sendKeys("the circuit"));
    assertShown(expected(union(union(circuit(40).complement(), from("A3.0")), fromBlock(1))));
    andRun(() -> browser.find("#undo").click());
    andRun(() -> browser.find("#undo").click());
    assertShown(expected(from("A3.0")));
    assertThat(browser.address()).contains("hand=-A3.0").doesNotContain("block");
    andRun(() -> browser.find("#redo").click());
    assertShown(expected(union(from("A3.0"), fromBlock(1))));
    andRun(() -> browser.focused().sendKeys(Keys.chord(Keys.CONTROL, "z")));
    andRun(() -> browser.find("body").sendKeys(Keys.chord(Keys.CONTROL, "z")));
    assertShown(expected(EdgeSet.none(exploration.model.graph())));
    assertThat(browser.find("#undo").isEnabled()).isFalse();
    andRun(() -> browser.find("body").sendKeys(Keys.chord(Keys.CONTROL, "y")));
    // A change after a step back replaces what was taken back.
    andRun(() -> browser.find("#graph .node[data-name='A3.4']").click());
    assertThat(browser.find("#redo").isEnabled()).isFalse();
    assertShown(expected(union(from("A3.0"), from("A3.4"))));
  }

  private static EdgeSet fromBlock(int block) {
    EdgeSet edges = from("MLP " + block);
    for (int head = 0; head < 8; head++) {
      edges = union(edges, from("A%s.%s".formatted(block, head)));
    }
    return edges;
  }

  @Test
  void edgesArePatchedAtOneWord() {
    show(PROMPTS + "&base=model&hand=-MLP 0");
    await(() -> browser.all("#at option").size() == 16);
    andRun(() -> browser.find("#at").sendKeys("10 John"));
    try (TextModel positions = exploration.model.perPosition(ExampleModel.prompts())) {
      List<String> names = from("MLP 0").edges().stream().map(edge -> edge.name() + "@10").toList();
      assertShown(positions.patch(TestExploration.PROMPT, TestExploration.CORRUPT, names));
    }
  }

  @Test
  void allPromptsAreMeasured() {
    show(PROMPTS + "&size=100");
    await(() -> "done".equals(browser.find("#measures").getAttribute("data-state")));
    Circuit circuit = exploration.model.circuit(exploration.scores, 100);
    CircuitMeasures measures = exploration.model.measure(circuit, ExampleModel.prompts());
    assertThat(browser.find("#measures").getText())
        .contains("on all 64 prompts", percent(measures.accuracy()))
        .contains("→ +" + three(measures.logitDifference()));
  }

  @Test
  void theModelGoesOnWithAndWithoutTheCircuit() {
    show(PROMPTS + "&size=5");
    browser.find("#tokens").clear();
    browser.find("#tokens").sendKeys("3");
    browser.find("#go").click();
    await(() -> "done".equals(browser.find("#generated").getAttribute("data-state")));
    List<WebElement> texts = browser.all("#generated .text");
    assertThat(texts.get(0).getText()).isEqualTo(TestExploration.PROMPT + " Mary.");
    assertThat(texts.get(1).getText())
        .startsWith(TestExploration.PROMPT)
        .isNotEqualTo(texts.get(0).getText());
  }

  @Test
  void codeIsGiven() {
    show(PROMPTS + "&base=model&hand=-A3.0");
    browser.find("#java").click();
    await(() -> "java".equals(browser.find("#code").getAttribute("data-kind")));
    assertThat(browser.find("#code").getText())
        .startsWith("import java.util.List;")
        .contains("\"A3.0->Resid End\"", "\"" + TestExploration.PROMPT + "\"");
    browser.find("#command").click();
    await(() -> "command".equals(browser.find("#code").getAttribute("data-kind")));
    assertThat(browser.find("#code").getText())
        .startsWith("autocircuit run --prompt 'When Mary and John")
        .endsWith("--patch 'A3.0->MLP 3' --patch 'A3.0->Resid End'");
  }

  @Test
  void edgesAreScoredByAnotherMethod() {
    show(PROMPTS + "&size=30&base=model&hand=-A3.0");
    browser.find("#method").sendKeys("random");
    await(() -> browser.address().contains("method=random"));
    await(() -> browser.find(".meaning").getText().equals("They say nothing."));
    await(() -> !browser.all("#next[data-run]").isEmpty());
    assertThat(browser.find("#edges").getAttribute("value")).isEqualTo("30");
    assertShown(expected(from("A3.0")));
    assertThat(browser.all("#other option"))
        .extracting(WebElement::getText)
        .contains("compare with " + exploration.scoresName);
  }

  @Test
  void thePageGoesOnAfterARestart() {
    try (TestExploration first = new TestExploration()) {
      browser.show(first.server.uri() + PROMPTS + "&size=40", 1600, 1000, false);
      await(() -> !browser.all("#next[data-run]").isEmpty());
      int port = first.server.uri().getPort();
      first.server.close();
      await(() -> browser.find("#presence").isDisplayed());
      assertThat(browser.find("#presence").getText()).contains("does not answer");
      // Meanwhile people go on.
      browser.find("#edges").clear();
      browser.find("#edges").sendKeys("7", Keys.TAB);
      try (TestExploration second =
          new TestExploration(ExampleModel.open(), settings -> settings.port(port))) {
        await(() -> !browser.find("#presence").isDisplayed());
        await(() -> browser.find("#next [role=status]").getText().startsWith("7 edges kept"));
        assertShown(expected(circuit(7).complement()));
      }
      await(() -> browser.find("#presence").isDisplayed());
      try (TestExploration stranger =
          new TestExploration(
              ExampleModel.open(), settings -> settings.port(port).token("quite another one"))) {
        await(() -> browser.find("#presence").getText().contains("another token"));
      }
    }
    // The browser tells of requests that nobody answers.
    assertThat(browser.console())
        .allMatch(
            line ->
                line.contains("ERR_CONNECTION")
                    || line.contains("403 (Forbidden)")
                    || line.contains("ERR_EMPTY_RESPONSE")
                    || line.contains("ERR_INCOMPLETE"));
  }

  @Test
  void htmlInPromptsIsText() throws IOException {
    String hostile = "<img src=x onerror=\"window.hurt=1\"></script><b>";
    String encoded = URLEncoder.encode(hostile, StandardCharsets.UTF_8);
    show("#clean=" + encoded + "&corrupt=" + encoded + "&hand=-" + encoded + "&answer=%3Cb%3E");
    assertThat(browser.all("img, b, iframe")).isEmpty();
    assertThat(browser.find("#clean").getAttribute("value")).isEqualTo(hostile);
    assertThat(browser.find(".problem").isDisplayed()).isTrue();
    // The browser tells of an answer that is no success.
    assertThat(browser.console()).allMatch(line -> line.contains("400 (Bad Request)"));
  }

  @Test
  void nobodyIsKeptOut() throws IOException {
    for (boolean dark : List.of(false, true)) {
      show(PROMPTS + "&size=40&hand=-A3.0%2C-block+1&node=A3.0", 1600, 1000, dark);
      browser.screenshot("explore" + (dark ? "-dark" : ""));
      assertThat(browser.barriers()).as("dark %s", dark).isEmpty();
    }
    show(PROMPTS, 400, 800, false);
    browser.screenshot("explore-400");
    assertThat(browser.barriers()).isEmpty();
  }

  @Test
  void theModelIsTheOnesThatIsServed() {
    show("");
    TextModel model = exploration.model;
    assertThat(browser.find("h1").getText()).isEqualTo("The circuit of " + model.name());
  }
}
