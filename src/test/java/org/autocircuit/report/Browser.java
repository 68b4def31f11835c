package org.autocircuit.report;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.logging.Level;
import org.junit.jupiter.api.Assumptions;
import org.openqa.selenium.By;
import org.openqa.selenium.WebElement;
import org.openqa.selenium.chrome.ChromeDriver;
import org.openqa.selenium.chrome.ChromeDriverService;
import org.openqa.selenium.chrome.ChromeOptions;
import org.openqa.selenium.interactions.Actions;
import org.openqa.selenium.logging.LogEntry;
import org.openqa.selenium.logging.LogType;
import org.openqa.selenium.logging.LoggingPreferences;

/**
 * A headless Chromium, that of the system; tests that ask for one are skipped where there is none.
 * The property {@code autocircuit.screenshots} names a folder in which tests leave pictures.
 */
public final class Browser implements AutoCloseable {

  private static final Path BROWSER = Path.of("/usr/bin/chromium");
  private static final Path DRIVER = Path.of("/usr/bin/chromedriver");

  private final ChromeDriver driver;
  private final Path downloads;

  private Browser(Path downloads) {
    this.downloads = downloads;
    LoggingPreferences logs = new LoggingPreferences();
    logs.enable(LogType.BROWSER, Level.ALL);
    ChromeOptions options = new ChromeOptions();
    options.setBinary(BROWSER.toFile());
    options.addArguments("--headless=new", "--no-sandbox", "--disable-dev-shm-usage");
    options.addArguments("--hide-scrollbars", "--lang=en");
    options.setExperimentalOption(
        "prefs", Map.of("download.default_directory", downloads.toString()));
    options.setCapability("goog:loggingPrefs", logs);
    driver =
        new ChromeDriver(
            new ChromeDriverService.Builder()
                .usingDriverExecutable(DRIVER.toFile())
                .usingAnyFreePort()
                .build(),
            options);
  }

  /** Starts a browser, or skips the test. */
  public static Browser open(Path downloads) {
    Assumptions.assumeTrue(
        Files.isExecutable(BROWSER) && Files.isExecutable(DRIVER),
        "no %s and %s here (Debian: apt-get install chromium chromium-driver)"
            .formatted(BROWSER, DRIVER));
    return new Browser(downloads);
  }

  /** Shows a file in a window of a size, in light or dark colours, with a fragment. */
  public Browser show(Path page, String fragment, int width, int height, boolean dark) {
    return show(page.toUri() + fragment, width, height, dark);
  }

  /** Shows an address in a window of a size, in light or dark colours. */
  public Browser show(String address, int width, int height, boolean dark) {
    // Small windows are refused, small screens are not.
    driver.executeCdpCommand(
        "Emulation.setDeviceMetricsOverride",
        Map.of("width", width, "height", height, "deviceScaleFactor", 1, "mobile", width < 600));
    driver.executeCdpCommand(
        "Emulation.setEmulatedMedia",
        Map.of(
            "features",
            List.of(
                Map.of("name", "prefers-color-scheme", "value", dark ? "dark" : "light"),
                Map.of("name", "prefers-reduced-motion", "value", "reduce"))));
    driver.get("about:blank");
    driver.get(address);
    return this;
  }

  /** Runs a script and returns its result; {@code return} included. */
  public Object run(String script, Object... arguments) {
    return driver.executeScript(script, arguments);
  }

  /** Runs a script that hands numbers to the function after its arguments. */
  public List<Double> times(String script, Object... arguments) {
    driver.manage().timeouts().scriptTimeout(Duration.ofMinutes(5));
    return ((List<?>) driver.executeAsyncScript(script, arguments))
        .stream().map(time -> ((Number) time).doubleValue()).toList();
  }

  /** Runs a script that returns texts. */
  public List<String> texts(String script) {
    return ((List<?>) run(script)).stream().map(String::valueOf).toList();
  }

  /** The only element of a selector. */
  public WebElement find(String selector) {
    return driver.findElement(By.cssSelector(selector));
  }

  /** All elements of a selector. */
  public List<WebElement> all(String selector) {
    return driver.findElements(By.cssSelector(selector));
  }

  /** The element that has the focus. */
  public WebElement focused() {
    return driver.switchTo().activeElement();
  }

  /** The address, with the fragment. */
  public String address() {
    return driver.getCurrentUrl();
  }

  /** Moves the pointer over an element. */
  public void pointAt(WebElement element) {
    new Actions(driver).moveToElement(element).perform();
  }

  /** All that the console said since the last call. */
  public List<String> console() {
    return driver.manage().logs().get(LogType.BROWSER).getAll().stream()
        .map(LogEntry::getMessage)
        // Of axe's own doing.
        .filter(message -> !message.contains("willReadFrequently"))
        .toList();
  }

  /** Finds with axe all that keeps people out, a line each. */
  public List<String> barriers() throws IOException {
    driver.executeScript(resource("/META-INF/resources/webjars/axe-core/4.6.3/axe.min.js"));
    driver.manage().timeouts().scriptTimeout(Duration.ofSeconds(60));
    Object found =
        driver.executeAsyncScript(
            """
            const done = arguments[0];
            axe.run().then(r => done(r.violations.flatMap(v => v.nodes.slice(0, 3).map(n =>
              v.id + ' ' + n.target + ': ' + n.failureSummary))), e => done([String(e)]));
            """);
    return ((List<?>) found).stream().map(String::valueOf).toList();
  }

  /** A picture of the whole page, left in the folder for screenshots if there is one. */
  public void screenshot(String name) throws IOException {
    String folder = System.getProperty("autocircuit.screenshots");
    if (folder == null) {
      return;
    }
    Files.createDirectories(Path.of(folder));
    Map<String, Object> picture =
        driver.executeCdpCommand("Page.captureScreenshot", Map.of("captureBeyondViewport", true));
    byte[] image = Base64.getDecoder().decode((String) picture.get("data"));
    Files.write(Path.of(folder, name + ".png"), image);
  }

  /** The files that were saved. */
  public Path downloads() {
    return downloads;
  }

  @Override
  public void close() {
    driver.quit();
  }

  private static String resource(String name) throws IOException {
    try (InputStream stream = Browser.class.getResourceAsStream(name)) {
      return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
    }
  }
}
