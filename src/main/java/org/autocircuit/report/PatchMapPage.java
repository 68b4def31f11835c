package org.autocircuit.report;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import org.autocircuit.eval.MeanDifference;
import org.autocircuit.eval.PatchMap;
import org.autocircuit.internal.AtomicFile;
import org.autocircuit.internal.StrictJson;

/**
 * A page on which people explore maps of activation patching: layers or heads by token position,
 * the words of a prompt as columns, in both directions where both were measured.
 *
 * <p>The page is one HTML file that stands alone, as a {@link CircuitPage}, and needs d3 as that
 * does.
 *
 * <pre>{@code
 * PatchMapPage.builder("Who gets the drink")
 *     .map(ActivationPatching.of(ActivationSite.RESIDUAL).map(model, batches))
 *     .build()
 *     .write(Path.of("map.html"));
 * }</pre>
 *
 * <p>Immutable, safe to share between threads; builders are not.
 */
public final class PatchMapPage {

  private final String title;
  private final Map<String, String> facts;
  private final List<PatchMap> maps;
  private final List<CircuitPage.Prompt> prompts;

  private PatchMapPage(Builder builder) {
    title = builder.title;
    facts = new LinkedHashMap<>(builder.facts);
    maps = List.copyOf(builder.maps);
    prompts = List.copyOf(builder.prompts);
  }

  /**
   * Begins a page.
   *
   * @param title a line of text above
   */
  public static Builder builder(String title) {
    return new Builder(title);
  }

  /**
   * Writes the page, in place of an older file when it is complete.
   *
   * @throws IOException if the file cannot be written
   * @throws IllegalStateException if d3 is not on the class path
   */
  public void write(Path file) throws IOException {
    AtomicFile.write(file, html().getBytes(StandardCharsets.UTF_8));
  }

  /**
   * Returns the page.
   *
   * @throws IllegalStateException if d3 is not on the class path
   */
  public String html() {
    ObjectNode root = StrictJson.MAPPER.createObjectNode();
    PageData.addHead(root, title, facts);
    PageData.addPrompts(root.putArray("prompts"), prompts);
    ArrayNode array = root.putArray("maps");
    maps.forEach(map -> add(array.addObject(), map));
    return PageFile.of(title, "map", StrictJson.text(root));
  }

  private static void add(ObjectNode json, PatchMap map) {
    MeanDifference range = map.difference();
    json.put("site", map.site().words());
    json.put("direction", map.direction().name().toLowerCase(Locale.ROOT));
    json.put("metric", map.metric()).put("prompts", map.prompts());
    PageData.put(json, "clean", map.clean());
    PageData.put(json, "corrupt", map.corrupt());
    PageData.put(json, "error", range.standardError());
    json.put("clear", range.isClear()).put("eachPosition", map.eachPosition());
    map.rows().forEach(json.putArray("rows")::add);
    json.put("columns", map.columns());
    float[] shares = new float[map.rows().size() * map.columns()];
    float[] errors = new float[shares.length];
    for (int i = 0; i < shares.length; i++) {
      shares[i] = (float) map.share(i / map.columns(), i % map.columns());
      errors[i] = (float) map.standardError(i / map.columns(), i % map.columns());
    }
    json.put("shares", PageData.floats(shares)).put("errors", PageData.floats(errors));
  }

  /** Returns the title and how many maps there are. */
  @Override
  public String toString() {
    return "PatchMapPage[%s, %s maps]".formatted(title, maps.size());
  }

  /** Collects what a page shows. For one thread. */
  public static final class Builder {

    private final String title;
    private final Map<String, String> facts = new LinkedHashMap<>();
    private final List<PatchMap> maps = new ArrayList<>();
    private final List<CircuitPage.Prompt> prompts = new ArrayList<>();

    private Builder(String title) {
      this.title = Objects.requireNonNull(title, "title");
    }

    /** Adds a name and what there is to say about it: a model, a command, a date, a hash. */
    public Builder fact(String name, String text) {
      facts.put(Objects.requireNonNull(name, "name"), Objects.requireNonNull(text, "text"));
      return this;
    }

    /** Adds a map; the first one is shown at first. */
    public Builder map(PatchMap value) {
      maps.add(Objects.requireNonNull(value, "map"));
      return this;
    }

    /** Adds some of the prompts, whose words are the columns. */
    public Builder prompts(List<CircuitPage.Prompt> rows) {
      prompts.addAll(rows);
      return this;
    }

    /**
     * Makes the page.
     *
     * @throws IllegalStateException without a map
     */
    public PatchMapPage build() {
      if (maps.isEmpty()) {
        throw new IllegalStateException("expected at least one map, got none");
      }
      return new PatchMapPage(this);
    }
  }
}
