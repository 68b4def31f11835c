package org.autocircuit.report;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.eval.ActivationSite;
import org.autocircuit.eval.ExampleMaps;
import org.autocircuit.eval.PatchDirection;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.openqa.selenium.Keys;
import org.openqa.selenium.WebElement;

/** Uses pages of patch maps as people do. Skipped where there is no Chromium. */
class PatchMapPageBrowserTest {

  @TempDir private static Path folder;

  private static Browser browser;
  private static Path small;

  @BeforeAll
  static void open() throws IOException {
    browser = Browser.open(folder);
    small = page("small", 4, 8, 7, 0.2);
  }

  private static Path page(String name, int blocks, int heads, int positions, double error)
      throws IOException {
    PatchMapPage.Builder page =
        PatchMapPage.builder("Activation patching of " + ExamplePages.HOSTILE)
            .fact("model", "a model of random scores")
            .fact("prompts", ExamplePages.HOSTILE)
            .prompts(List.of(prompt(positions, "Mary"), prompt(positions, ExamplePages.HOSTILE)));
    for (ActivationSite site : ActivationSite.values()) {
      for (PatchDirection direction : List.of(PatchDirection.DENOISING, PatchDirection.NOISING)) {
        page.map(ExampleMaps.of(site, direction, blocks, heads, positions, error));
      }
    }
    Path file = folder.resolve(name + ".html");
    page.build().write(file);
    return file;
  }

  private static CircuitPage.Prompt prompt(int positions, String name) {
    List<String> clean = new ArrayList<>();
    List<String> corrupt = new ArrayList<>();
    for (int i = 0; i < positions; i++) {
      clean.add(i == 2 ? "' " + name + "'" : "' word" + i + "'");
      corrupt.add(i == 2 ? "' John'" : "' word" + i + "'");
    }
    return new CircuitPage.Prompt(clean, corrupt, List.of("' a'"), List.of("' b'"));
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

  private static void choose(String select, String option) {
    browser.find(select + " option[value='" + option + "']").click();
  }

  @Test
  void cellsAreReadAndChosenWithKeys() throws IOException {
    browser.show(small, "", 1600, 1000, false);
    assertThat(browser.all(".map .cell")).hasSize(4 * 7);
    assertThat(browser.all(".map thead th"))
        .extracting(WebElement::getText)
        .startsWith("put in", "word0", "word1", "Mary");
    assertThat(browser.find(".map mark").getAttribute("data-tip")).isEqualTo("corrupt: ' John'");
    assertThat(browser.find("#panel").getText()).startsWith("Strongest places");
    browser.run("document.querySelector('.cell[tabindex=\"0\"]').focus()");
    browser.focused().sendKeys(Keys.ARROW_RIGHT);
    browser.focused().sendKeys(Keys.ARROW_DOWN);
    assertThat(browser.focused().getAttribute("aria-label"))
        .isEqualTo("block 1 at 1 word1: 100.0 % ± 5.0 %");
    assertThat(browser.find("#tip").getText()).isEqualTo("block 1 at 1 word1: 100.0 % ± 5.0 %");
    browser.focused().sendKeys(Keys.ENTER);
    assertThat(browser.find("#panel").getText())
        .startsWith("block 1 at 1 word1")
        .containsPattern("brings back\\s+100.0 % ± 5.0 %")
        .containsPattern("logit difference then\\s+4.00")
        .containsPattern("by noising\\s+100.0 %");
    assertThat(browser.all(".map .cell.chosen")).hasSize(1);
    assertThat(browser.address()).endsWith("#row=1&column=1");
    browser.screenshot("map-1600");
    assertThat(browser.barriers()).isEmpty();
  }

  @Test
  void mapsAndWordsAreChosen() throws IOException {
    browser.show(small, "", 1600, 1000, false);
    choose("#direction", "noising");
    assertThat(browser.find(".meaning").getText()).startsWith("Noising").contains("takes away");
    choose("#words", "1");
    assertThat(browser.find(".map thead").getText()).contains(ExamplePages.HOSTILE);
    assertThat(browser.all("img, b, iframe")).isEmpty();
    browser.find("#site option:last-child").click();
    assertThat(browser.all(".map .cell")).hasSize(4 * 8 * 7);
    assertThat(browser.find(".map tbody th").getText()).isEqualTo("A0.0");
    assertThat(browser.address()).contains("direction=noising", "words=1", "site=");
    assertThat(browser.find(".map td.cell").getText()).isEqualTo("−20");
    browser.show(small, "#site=none&row=99&words=-3&direction=noising", 1600, 1000, true);
    assertThat(browser.find(".meaning").getText()).startsWith("Noising");
    browser.screenshot("map-dark");
    assertThat(browser.barriers()).isEmpty();
  }

  @Test
  void headsOfAllPositionsStandByBlock() throws IOException {
    Path together = page("together", 3, 4, 0, 9);
    browser.show(together, "", 1600, 1000, false);
    browser.find("#site option:last-child").click();
    assertThat(browser.all(".map tbody th"))
        .extracting(WebElement::getText)
        .containsExactly("block 0", "block 1", "block 2");
    assertThat(browser.all(".map .cell")).hasSize(12);
    assertThat(browser.find(".warning").getText())
        .contains("differ by 8.00, with a standard error of 9.00", "mean little");
    browser.all(".map .cell").get(5).click();
    assertThat(browser.find("#panel h2").getText()).isEqualTo("A1.1, all positions");
  }

  @Test
  void everythingFitsOnEveryScreen() throws IOException {
    List<String> problems = new ArrayList<>();
    Path gpt2 = page("gpt2", 12, 12, 15, 0.2);
    Path large = page("large", 32, 32, 40, 0.2);
    for (Path page : List.of(small, gpt2, large)) {
      for (int width : new int[] {400, 1600}) {
        for (boolean dark : List.of(false, true)) {
          String fragment = dark ? "#row=1&column=2" : "";
          browser.show(page, fragment, width, 1000, dark);
          String name = "map-" + page.getFileName().toString().replace(".html", "") + "-" + width;
          browser.screenshot(name + (dark ? "-dark" : ""));
          browser
              .texts(CircuitPageBrowserTest.PROBLEMS)
              .forEach(problem -> problems.add(name + ": " + problem));
        }
      }
    }
    assertThat(problems).isEmpty();
    browser.show(small, "#row=1&column=2", 400, 800, false);
    assertThat(browser.barriers()).isEmpty();
  }
}
