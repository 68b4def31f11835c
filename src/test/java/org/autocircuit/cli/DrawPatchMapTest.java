package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.stream.Stream;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPair;
import org.autocircuit.data.PromptText;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DrawPatchMapTest {

  @TempDir private static Path shared;

  private static Path model;
  private static Path prompts;

  @TempDir private Path folder;

  @BeforeAll
  static void writeModel() throws IOException {
    model = TinyModel.write(shared.resolve("tiny"));
    prompts = shared.resolve("pairs.json");
    TinyModel.prompts().write(prompts);
  }

  private CommandRun patchMap(Object... more) {
    List<Object> arguments =
        new ArrayList<>(
            List.of("patch-map", "--model", model, "--prompts", prompts, "--overwrite"));
    arguments.addAll(List.of(more));
    if (!arguments.contains("--picture")) {
      arguments.add("--no-picture");
    }
    return CommandRun.of(arguments.toArray());
  }

  private JsonNode json(Object... more) throws IOException {
    Path file = folder.resolve("map.json");
    List<Object> arguments = new ArrayList<>(List.of("--json", file));
    arguments.addAll(List.of(more));
    CommandRun run = patchMap(arguments.toArray());
    assertThat(run.code()).as("%s", run).isEqualTo(Main.OK);
    return new ObjectMapper().readTree(file.toFile());
  }

  @Test
  void printsAMapAndDrawsIt() throws IOException {
    Path picture = folder.resolve("map.svg");
    Path numbers = folder.resolve("map.json");
    CommandRun run = patchMap("--picture", picture, "--json", numbers, "--limit", 1);
    assertThat(run.err()).isEmpty();
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(words(run))
        .contains("tiny: 2 layers, 2 heads, ", "1 pair of 9 tokens")
        .contains("residual stream before each block, one position at a time;")
        .contains("denoising: corrupt prompts, clean activations put in")
        .contains("(patched - corrupt) / (clean - corrupt)")
        .contains("clean ", "corrupt ");
    assertThat(run.out().lines()).allMatch(line -> line.length() <= 80 || line.contains("/"));
    assertThat(picture)
        .content()
        .contains("tiny: 2 layers", "1 pair of 9", "denoising: ", "logit difference of 1 prompt;");
    JsonNode map = new ObjectMapper().readTree(numbers.toFile());
    assertThat(map.get("prompts").intValue()).isEqualTo(1);
    assertThat(map.get("rows")).extracting(JsonNode::textValue).contains("block 0", "block 1");
    int columns = map.get("columns").size();
    String first =
        run.out().lines().filter(l -> l.startsWith("block 0 ")).findFirst().orElseThrow();
    String[] cells = first.substring("block 0".length()).strip().split(" +", -1);
    assertThat(cells).hasSize(columns);
    for (int column = 0; column < columns; column++) {
      double share = map.get("shares").get(0).get(column).doubleValue();
      assertThat(Double.parseDouble(cells[column])).isEqualTo(100 * share, within(0.5));
      assertThat(map.get("standard_errors").get(0).get(column).isNull()).isTrue();
    }
    // The titles are the words of the first prompt.
    String title = run.out().lines().dropWhile(l -> !l.endsWith(".")).toList().get(2);
    assertThat(String.join(" ", title.strip().split(" +", -1)))
        .isEqualTo(String.join(" ", words(map.get("columns"))));
  }

  /** The text that was printed, without line breaks. */
  private static String words(CommandRun run) {
    return run.out().replaceAll("\\s+", " ");
  }

  private static List<String> words(JsonNode columns) {
    List<String> words = new ArrayList<>();
    columns.forEach(column -> words.add(column.textValue()));
    return words;
  }

  @Test
  void batchesDoNotMatter() throws IOException {
    JsonNode expected = json("--of", "heads", "--limit", 7);
    JsonNode parts = json("--of", "heads", "--limit", 7, "--batch-size", 3);
    assertThat(parts.get("rows")).isEqualTo(expected.get("rows"));
    double way = expected.get("clean").doubleValue() - expected.get("corrupt").doubleValue();
    for (int row = 0; row < expected.get("rows").size(); row++) {
      double[] there = numbers(expected.get("shares").get(row));
      double[] here = numbers(parts.get("shares").get(row));
      for (int at = 0; at < there.length; at++) {
        assertThat(here[at] * way).isEqualTo(there[at] * way, within(1e-5));
      }
    }
  }

  private static double[] numbers(JsonNode array) {
    double[] numbers = new double[array.size()];
    Arrays.setAll(numbers, i -> array.get(i).doubleValue());
    return numbers;
  }

  @Test
  void headsTogetherAreShownLayerByHead() throws IOException {
    CommandRun run =
        patchMap("--of", "heads", "--together", "--direction", "noising", "--limit", 3);
    assertThat(run.out()).contains("head 0 head 1");
    assertThat(words(run))
        .contains("all positions together; noising: clean prompts, corrupt activations put in")
        .contains("takes away, (clean - patched)")
        .contains("logit difference of 3 prompts");
    JsonNode map = json("--of", "heads", "--together");
    assertThat(map.get("rows")).extracting(JsonNode::textValue).contains("A0.0", "A1.1");
    assertThat(map.has("columns")).isFalse();
    assertThat(json("--of", "attn", "--together").get("rows"))
        .extracting(JsonNode::textValue)
        .containsExactly("attention 0", "attention 1");
    assertThat(json("--of", "mlp").get("rows"))
        .extracting(JsonNode::textValue)
        .containsExactly("MLP 0", "MLP 1");
  }

  @Test
  void saysWhereThereIsHardlyADifference() throws IOException {
    assertThat(patchMap().err()).isEmpty();
    // For every pair there is one the other way round.
    Path file = folder.resolve("both.json");
    new PromptDataset(
            TinyModel.prompts().prompts().stream()
                .flatMap(
                    pair ->
                        Stream.of(
                            pair,
                            new PromptPair(
                                /* clean= */ pair.corrupt(),
                                /* corrupt= */ pair.clean(),
                                pair.answers(),
                                pair.wrongAnswers())))
                .skip(1) // or there would be no difference at all
                .toList())
        .write(file);
    CommandRun run = CommandRun.of("patch-map", "-m", model, "-p", file, "--no-picture");
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(run.err())
        .startsWith("warning: clean and corrupt prompts differ by ")
        .hasLineCount(1);
  }

  @Test
  void promptsOfSeveralLengthsGoTogetherOnly() throws IOException {
    List<PromptPair> pairs = TinyModel.prompts().prompts();
    PromptPair longer = pairs.get(2);
    List<PromptPair> mixed =
        List.of(
            pairs.get(0),
            new PromptPair(
                PromptText.of("and " + longer.clean()),
                PromptText.of("and " + longer.corrupt()),
                longer.answers(),
                longer.wrongAnswers()));
    Path file = folder.resolve("mixed.json");
    new PromptDataset(mixed).write(file);
    CommandRun refused =
        CommandRun.of("patch-map", "--model", model, "--prompts", file, "--no-picture");
    assertThat(refused.code()).isEqualTo(Main.FAILURE);
    assertThat(refused.err()).contains("tokens");
    CommandRun run =
        CommandRun.of(
            "patch-map", "--model", model, "--prompts", file, "--no-picture", "--together");
    assertThat(run.code()).as("%s", run).isEqualTo(Main.OK);
    assertThat(run.out()).contains("all positions");
  }

  @Test
  void writesAPageOfAllMaps() throws IOException {
    Path page = folder.resolve("map page.html");
    CommandRun run = patchMap("--page", page, "--limit", 3);
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    assertThat(run.out()).contains(page + " (to open in a browser)");
    JsonNode data = DiscoverTest.pageData(page);
    assertThat(data.get("maps")).hasSize(8);
    assertThat(data.get("prompts")).hasSize(3);
    assertThat(data.at("/prompts/0/clean")).hasSize(9);
    assertThat(data.get("facts").toString()).contains("patch-map", "SHA-256 of model.safetensors");
    JsonNode noising = json("--of", "heads", "--direction", "noising", "--limit", 3);
    JsonNode map = data.at("/maps/7");
    assertThat(map.get("direction").asText()).isEqualTo("noising");
    assertThat(map.get("rows")).isEqualTo(noising.get("rows"));
    ByteBuffer shares =
        ByteBuffer.wrap(Base64.getDecoder().decode(map.get("shares").asText()))
            .order(ByteOrder.LITTLE_ENDIAN);
    for (JsonNode row : noising.get("shares")) {
      for (JsonNode share : row) {
        assertThat(shares.getFloat()).isCloseTo((float) share.asDouble(), within(1e-4f));
      }
    }
    assertThat(shares.hasRemaining()).isFalse();

    patchMap("--page", page, "--limit", 2, "--of", "mlp", "--direction", "noising", "--together");
    data = DiscoverTest.pageData(page);
    assertThat(data.get("maps")).hasSize(1);
    assertThat(data.at("/maps/0/eachPosition").asBoolean()).isFalse();
    assertUsage(patchMap("--page", prompts), "--page " + prompts + " is the file of --prompts");
  }

  @Test
  void wrongOptionsAreRefused() throws IOException {
    Path picture = folder.resolve("map.png");
    assertUsage(
        patchMap("--picture", picture),
        "--picture",
        "must end in .svg, got ",
        "--page writes a page");
    assertUsage(patchMap("--of", "neurons"), "--of", "neurons");
    assertUsage(patchMap("--direction", "sideways"), "--direction", "sideways");
    assertUsage(patchMap("--held-out", 10), "--held-out");
    assertUsage(patchMap("--batch-size", 0), "--batch-size");
    assertUsage(patchMap("--json", prompts), "--json", "--prompts");
    assertUsage(CommandRun.of("patch-map", "--model", model), "--model needs --prompts");
    Path both = folder.resolve("both.svg");
    assertUsage(patchMap("--picture", both, "--no-picture"), "--no-picture leaves out");
    assertUsage(patchMap("--picture", both, "--json", both), "is the file of");
    assertThat(both).doesNotExist();
    assertThat(Files.readString(prompts)).contains("clean");
  }

  private static void assertUsage(CommandRun run, String... messages) {
    assertThat(run.code()).as("%s", run).isEqualTo(Main.USAGE);
    assertThat(run.err()).contains(messages);
    assertThat(run.err().lines()).hasSize(1);
  }

  @Test
  void withoutOptionsItMapsTheEmbeddedModel() {
    Path picture = folder.resolve("map.svg");
    CommandRun run = CommandRun.of("patch-map", "--picture", picture);
    assertThat(run.code()).as("%s", run).isEqualTo(Main.OK);
    assertThat(run.out())
        .contains("indirect-object (built in)", "built in): 64 pairs of 15 tokens");
    assertThat(run.out().lines()).allMatch(line -> line.length() <= 80 || line.contains("/"));
    assertThat(picture).content().contains("indirect-object", "</svg>");
  }
}
