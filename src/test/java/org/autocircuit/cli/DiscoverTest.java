package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.autocircuit.checkpoint.HuggingFaceConfig;
import org.autocircuit.data.PromptDataset;
import org.autocircuit.data.PromptPair;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.PruneScoresJson;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DiscoverTest {

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

  private CommandRun discover(Object... more) {
    return run(model, prompts, more);
  }

  private CommandRun run(Path model, Path prompts, Object... more) {
    List<Object> arguments =
        new ArrayList<>(List.of("discover", "--model", model, "--prompts", prompts, "--overwrite"));
    arguments.addAll(List.of("--output", folder.resolve("scores.json")));
    List<Object> rest = List.of(more);
    arguments.addAll(rest);
    if (!rest.contains("--picture")) {
      arguments.add("--no-picture");
    }
    return CommandRun.of(arguments.toArray());
  }

  @Test
  void findsACircuitAndPrintsIt() throws IOException {
    CommandRun run = discover("--top", 5, "--picture", folder.resolve("circuit.svg"));
    assertThat(run.err()).isEmpty();
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(run.out())
        .contains("tiny: 2 layers, 2 heads, ")
        .contains("others to test it")
        .contains("The 5 edges that matter most, of ")
        .contains("Circuits on 6 held-out prompts")
        .contains("- random -")
        .contains("100 %")
        .contains("time     loading");
    assertThat(run.out().lines()).allMatch(line -> line.length() <= 80 || line.contains("/"));
    ModelGraph graph = ModelGraph.of(HuggingFaceConfig.read(model).transformer(), true, true);
    PruneScores scores = PruneScoresJson.read(graph, folder.resolve("scores.json"));
    assertThat(scores.descending()[0]).isPositive();
    assertThat(run.out()).contains(scores.top(1).get(0).edge().name());
    assertThat(folder.resolve("circuit.svg")).content().contains("</svg>");
  }

  @Test
  void groupedQueriesAreScoredByKeyValueHeadOrUngrouped() throws IOException {
    Path llama = TinyModel.writeLlama(shared.resolve("llama"));
    Path page = folder.resolve("circuit.svg");
    for (String option : List.of("--separate-qkv", "--per-position")) {
      CommandRun grouped = run(llama, prompts, "--top", 200, "--picture", page, option);
      assertThat(grouped.code()).as(grouped.err()).isEqualTo(Main.OK);
      assertThat(grouped.out())
          .contains("4 heads, 2 key/value", ".K (kv 0: heads 0, 1)", ".V (kv 1: heads 2, 3)")
          .doesNotContain(".2.K", ".3.V");
      assertThat(page).content().contains("heads 0, 1");
      assertThat(folder.resolve("scores.json")).content().doesNotContain("kv 0");

      CommandRun ungrouped =
          run(llama, prompts, "--top", 200, "--picture", page, option, "--ungroup");
      assertThat(ungrouped.code()).as(ungrouped.err()).isEqualTo(Main.OK);
      assertThat(ungrouped.out()).contains(".2.K", ".3.V").doesNotContain("(kv");
      assertThat(page).content().doesNotContain("kv");
    }
    assertThat(discover("--ungroup").code()).isEqualTo(Main.USAGE);
  }

  @Test
  void verifiesEstimatesAndSaysWhatEdgesAndHeadsDo() {
    CommandRun run = discover("--budget", 1000);
    assertThat(run.out().replaceAll("\\s+", " "))
        .contains("The score estimates how much the logit difference falls")
        .contains("Verified: 20 of the best edges and 26 random ones patched exactly. Correlation")
        .containsPattern("Judging by the random ones, (none|about [\\d.]+) of the 20 edges")
        .contains("The 4 heads that matter most", " # head ")
        .contains("The smallest circuit that is 95 % faithful on the prompts")
        .contains("on the held-out prompts, those of the table, ");
    assertThat(discover("--budget", 0).out()).doesNotContain("Verified");
    assertThat(discover("--budget", "1e-9").out().replaceAll("\\s+", " "))
        .contains("then the time was over (--budget SECONDS gives more)");
  }

  @Test
  void intervalsGiveScoresStandardErrors() throws IOException {
    Path json = folder.resolve("all.json");
    CommandRun run = discover("--intervals", "--budget", 0, "--top", 4, "--json", json);
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    assertThat(run.out())
        .containsPattern("edge +score +± s\\.e\\. +from +to")
        .contains("95 % of 1,000 bootstrap replicates of 6 prompts.");
    PruneScores scores =
        PruneScoresJson.read(
            ModelGraph.of(HuggingFaceConfig.read(model).transformer(), true, true),
            folder.resolve("scores.json"));
    JsonNode root = new ObjectMapper().readTree(json.toFile());
    assertThat(root.at("/intervals/prompts").asInt()).isEqualTo(6);
    JsonNode edges = root.at("/intervals/edges");
    assertThat(edges).hasSize(scores.size());
    for (int edge = 0; edge < scores.size(); edge++) {
      JsonNode of = edges.get(scores.graph().edge(edge).name());
      assertThat(scores.get(edge))
          .isBetween(of.get("low").asDouble() - 1e-9, of.get("high").asDouble() + 1e-9);
      assertThat(of.get("standard_error").asDouble()).isNotNegative();
    }
    // The scores are those without intervals, but for rounding.
    CommandRun.of(
        "discover",
        "--model",
        model,
        "--prompts",
        prompts,
        "--budget",
        0,
        "--no-picture",
        "--output",
        folder.resolve("plain.json"));
    PruneScores plain = PruneScoresJson.read(scores.graph(), folder.resolve("plain.json"));
    for (int edge = 0; edge < scores.size(); edge++) {
      assertThat(scores.get(edge)).isCloseTo(plain.get(edge), within(1e-5));
    }
    CommandRun acdc = discover("--intervals", "--method", "acdc");
    assertThat(acdc.code()).isEqualTo(Main.USAGE);
    assertThat(acdc.err()).contains("--intervals has no effect with acdc");
    assertThat(discover("--intervals", "--checkpoint", folder.resolve("ck")).err())
        .contains("--checkpoint keeps no scores of single prompts");
  }

  @Test
  void writesAPageToExplore() throws IOException {
    Path page = folder.resolve("it's a page.html");
    CommandRun run = discover("--page", page, "--sizes", "3,9");
    assertThat(run.err()).isEmpty();
    assertThat(run.out()).contains("page     ", "(to open in a browser)");
    // No still picture, unless somebody asks for one.
    CommandRun still =
        CommandRun.of(
            "discover",
            "--model",
            model,
            "--prompts",
            prompts,
            "--output",
            folder.resolve("other.json"),
            "--page",
            folder.resolve("other.html"));
    assertThat(still.out()).contains("page     ").doesNotContain("picture  ");
    JsonNode data = pageData(page);
    assertThat(data.at("/title").asText()).isEqualTo("The circuit of tiny");
    assertThat(data.at("/methods/0/name").asText())
        .isEqualTo("integrated gradients over inputs, 5 points");
    assertThat(data.at("/exact")).hasSize(46);
    JsonNode curve = data.at("/curves/0");
    int smallest = data.at("/smallest/edges").asInt();
    assertThat(curve.get("found").findValues("edges"))
        .extracting(JsonNode::asInt)
        .containsExactlyElementsOf(new TreeSet<>(List.of(0, 1, 4, smallest)));
    assertThat(curve.at("/baselines/0/points/0/recovered").isNumber()).isTrue();
    assertThat(data.at("/prompts/rows")).hasSize(6);
    assertThat(data.at("/prompts/rows/0/clean/0").asText()).startsWith("'");
    double model = 0;
    for (JsonNode value : curve.at("/all/prompts")) {
      model += value.asDouble() / 6;
    }
    assertThat(model).isCloseTo(curve.at("/all/metric").asDouble(), within(1e-5));
    for (JsonNode point : curve.get("found")) {
      assertThat(point.has("prompts")).isEqualTo(point.get("edges").asInt() == smallest);
    }
    assertThat(data.at("/methods/0/errors").asText()).hasSize(4 * ((46 * 4 + 2) / 3));
    assertThat(data.at("/attention")).hasSize(3);
    assertThat(data.at("/attention/0/heads")).hasSize(4);
    assertThat(data.at("/attention/0/weights").asText()).hasSize(4 * 9 * 10 / 2 * 4 / 3);
    assertThat(data.at("/facts").toString())
        .contains(
            "autocircuit discover --model ", " '--page' ".replace("'", ""), "it'\\\\''s a page")
        .contains("SHA-256 of model.safetensors", "SHA-256 of the scores", "\"version\"");
    assertThat(discover("--page", page, "--json", page).code()).isEqualTo(Main.USAGE);

    discover("--page", page, "--per-position", "--sizes", "3");
    assertThat(pageData(page).at("/positions")).hasSize(9);
    assertThat(pageData(page).at("/graph/positions").asInt()).isEqualTo(9);
  }

  static JsonNode pageData(Path page) throws IOException {
    String html = Files.readString(page);
    String begin = "<script type=\"application/json\" id=\"data\">";
    int from = html.indexOf(begin) + begin.length();
    return new ObjectMapper().readTree(html.substring(from, html.indexOf("</script>", from)));
  }

  @Test
  void everyMethodScoresTheEdges() throws IOException {
    Set<String> different = new TreeSet<>();
    for (Method method : Method.values()) {
      CommandRun run = discover("--method", method, "--random", 0, "--seed", 5);
      assertThat(run.err()).as("%s", method).isEmpty();
      assertThat(run.code()).as("%s", method).isEqualTo(Main.OK);
      assertThat(run.out().contains("Verified")).as("%s", method).isEqualTo(method.estimates());
      different.add(Files.readString(folder.resolve("scores.json")));
    }
    assertThat(different).hasSize(Method.values().length);
  }

  @Test
  void optionsHaveAnEffectOnTheMethodsThatTakeThem() throws IOException {
    List<List<String>> settings =
        List.of(
            List.of("--method", "eap-ig", "--points", "2"),
            List.of("--method", "eap-ig", "--metric", "prob"),
            List.of("--method", "eap", "--ablation", "zero"),
            List.of("--method", "exact", "--metric", "prob"),
            List.of("--method", "acdc", "--thresholds", "1e-4,1e-2"),
            List.of("--method", "subnetwork-probing", "--epochs", "2"),
            List.of("--method", "subnetwork-probing", "--lambda", "0.1"));
    for (List<String> setting : settings) {
      discover("--random", 0, setting.get(0), setting.get(1));
      double[] before = scores();
      CommandRun run =
          discover(Stream.concat(Stream.of("--random", 0), setting.stream()).toArray());
      assertThat(run.code()).as("%s: %s", setting, run.err()).isEqualTo(Main.OK);
      assertThat(scores()).as("%s", setting).isNotEqualTo(before);
    }
    assertThat(discover("--ablation", "zero").out()).contains("all other edges patched by zero");
    assertUsage(
        discover("--method", "acdc", "--points", 3),
        "--points has no effect with acdc; it is for eap-ig, eap-ig-activations, mask-ig");
    assertUsage(discover("--method", "exact", "--budget", 3), "--budget has no effect with exact");
    assertUsage(discover("--method", "eapig"), "eap-ig-activations");
    assertUsage(discover("--ablation", "none"), "batch-all-tok-mean");
    assertUsage(discover("--points", 0), "--points must be at least 1, got 0");
    assertUsage(
        discover("--method", "subnetwork-probing", "--lambda", -1), "--lambda must be 0 or more");
    assertUsage(discover("--budget", -1), "--budget must be seconds");
    assertUsage(discover("--method", "acdc", "--thresholds", "0"), "must be positive numbers");
  }

  @Test
  void writesWhatItFoundForPrograms() throws IOException {
    Path file = folder.resolve("found.json");
    CommandRun run = discover("--json", file, "--edges", "3,20", "--random", 1);
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    JsonNode found = new ObjectMapper().readTree(file.toFile());
    assertThat(found.at("/method/name").asText())
        .isEqualTo("integrated gradients over inputs, 5 points");
    assertThat(found.at("/method/sign").asText()).isEqualTo("signed");
    assertThat(found.at("/verification/top")).hasSize(20);
    assertThat(found.at("/verification/pearson/low").asDouble()).isBetween(-1.0, 1.0);
    assertThat(found.at("/circuits")).hasSize(3);
    assertThat(found.at("/circuits/1/random/kl").isNumber()).isTrue();
    assertThat(found.at("/circuits/2/edges").asInt()).isEqualTo(20);
    assertThat(found.at("/full_model/faithfulness").asDouble()).isEqualTo(1);
    assertThat(found.at("/smallest_circuit/edges").asInt()).isPositive();
    double[] scores = scores();
    assertThat(found.at("/scores")).hasSize(scores.length);
    assertThat(found.at("/scores/Resid Start->A0.0.Q").asDouble()).isEqualTo(scores[0]);
    assertUsage(discover("--json", folder.resolve("scores.json")), "is the file of --output, too");
    CommandRun acdc =
        discover("--json", file, "--per-position", "--method", "acdc", "--thresholds", 1e-4);
    assertThat(acdc.code()).as(acdc.err()).isEqualTo(Main.OK);
    assertThat(new ObjectMapper().readTree(file.toFile()).at("/scores").fieldNames())
        .toIterable()
        .contains("Resid Start->A0.0.Q@0");
  }

  @Test
  void saysThatAFewEdgesOffAllPathsAreTheEmptyCircuit() {
    CommandRun run = discover("--method", "random", "--edges", "1,5", "--random", 0);
    assertThat(run.out()).contains("1 edge, none on a whole path: the empty circuit");
  }

  @Test
  void writesTheScoresBeforeItRunsCircuits() {
    String out = discover("--random", 0).out();
    assertThat(out.indexOf("scores   ")).isPositive().isLessThan(out.indexOf("Circuits on"));
  }

  @Test
  void printsTheSameTwiceButForTheTime() {
    CommandRun first = discover("--seed", 3, "--random", 2);
    CommandRun second = discover("--seed", 3, "--random", 2);
    assertThat(withoutTime(first)).isEqualTo(withoutTime(second));
  }

  private static List<String> withoutTime(CommandRun run) {
    return run.out().lines().takeWhile(line -> !line.startsWith("time")).toList();
  }

  @Test
  void aCircuitOfAllEdgesIsTheModel() {
    CommandRun run = discover("--edges", "3", "--sizes", "100", "--random", 0, "--held-out", 0);
    List<String> lines = run.out().lines().toList();
    String all = lines.stream().filter(line -> line.contains("100 %  ")).findFirst().orElseThrow();
    String full = lines.stream().filter(l -> l.startsWith("  model")).findFirst().orElseThrow();
    String rest = full.strip().replaceFirst("model +", "");
    assertThat(all).endsWith(rest).contains("100.0 %");
    assertThat(all).contains("0.0000");
    assertThat(run.out()).contains("the same 12 prompts").doesNotContain("random: mean");
  }

  @Test
  void otherBatchesGiveTheSameScoresAndMeasures() throws IOException {
    CommandRun whole = discover("--edges", "5,20", "--held-out", 0, "--random", 0);
    double[] scores = scores();
    assertThat(whole.out()).contains("as a mean over the prompts");
    for (int size : new int[] {1, 5, 7}) { // 12 prompts, the last batch often a small one
      CommandRun parts =
          discover("--edges", "5,20", "--held-out", 0, "--random", 0, "--batch-size", size);
      assertThat(scores()).containsExactly(scores, within(1e-5));
      assertThat(table(parts)).isEqualTo(table(whole)).hasSizeGreaterThan(3);
    }
  }

  private double[] scores() throws IOException {
    ModelGraph graph = ModelGraph.of(HuggingFaceConfig.read(model).transformer(), true, true);
    return PruneScoresJson.read(graph, folder.resolve("scores.json")).toArray();
  }

  private static List<String> table(CommandRun run) {
    return run.out()
        .lines()
        .dropWhile(line -> !line.startsWith("Circuits"))
        .takeWhile(line -> !line.startsWith("logit diff:"))
        .toList();
  }

  @Test
  void otherGraphs() {
    assertThat(discover("--joint", "--random", 1).out()).contains("edges from 7 sources to 7 ");
    assertThat(discover("--residual", "--random", 1).code()).isEqualTo(Main.OK);
    CommandRun run = discover("--per-position", "--random", 1, "--limit", 4);
    assertThat(run.err()).isEmpty();
    assertThat(run.out()).contains("position");
    assertThat(discover("--dtype", "float64", "--random", 0, "--threads", 1).code())
        .isEqualTo(Main.OK);
  }

  @Test
  void drawsAsManyEdgesAsAreAskedFor() throws IOException {
    Path picture = folder.resolve("circuit.svg");
    assertThat(discover("--picture", picture, "--picture-edges", 7, "--random", 0).code())
        .isEqualTo(Main.OK);
    String svg = Files.readString(picture);
    assertThat(svg).contains("<svg", "Resid Start");
    assertThat(svg.split("<path class=\"edge\"", -1)).hasSize(8);
  }

  @Test
  void promptsWithoutWrongAnswers() {
    new PromptDataset(
            TinyModel.prompts().prompts().stream()
                .map(p -> new PromptPair(p.clean(), p.corrupt(), p.answers(), List.of()))
                .toList())
        .write(folder.resolve("right.json"));
    CommandRun right = run(model, folder.resolve("right.json"));
    assertThat(right.err()).isEmpty();
    assertThat(right.out()).contains("how much the answer's logit falls");
  }

  @Test
  void saysWhatIsWrongWithOptions() {
    assertUsage(discover("--sizes", "101"), "--sizes must be per cent from 0 to 100");
    assertUsage(discover("--edges", "-1"), "--edges must not be negative");
    assertUsage(discover("--edges", "100000"), "--edges 100,000: the graph has only");
    assertUsage(
        discover("--picture", "circuit.png"),
        "must end in .svg, got circuit.png; --page writes a page");
    assertUsage(discover("--random", "-1"), "--random at least 0");
    assertUsage(discover("--picture-edges", "3"), "--picture-edges says how to draw what --no-pic");
    assertUsage(
        discover("--picture", "circuit.svg", "--no-picture"),
        "--picture says how to draw what --no-picture leaves out");
    assertUsage(discover("--held-out", "100"), "--held-out must be");
    assertUsage(discover("--batch-size", "0"), "--batch-size must be at least 1");
    assertUsage(discover("--joint", "--separate-qkv"), "mutually exclusive");
    assertUsage(discover("--joint", "--residual"), "--joint has no effect with --residual");
    assertUsage(
        discover("--separate-qkv", "--residual"), "--separate-qkv has no effect with --residual");
    assertUsage(discover("--dtype", "float8"), "float32, float64");
    CommandRun nowhere =
        CommandRun.of("discover", "--overwrite", "--output", folder.resolve("no/x.json"));
    assertUsage(
        nowhere,
        "--output " + folder.resolve("no/x.json") + ": cannot be written: there is no folder");
  }

  private static void assertUsage(CommandRun run, String message) {
    assertThat(run.code()).isEqualTo(Main.USAGE);
    assertThat(run.err()).contains(message).contains("autocircuit discover --help");
    assertThat(run.err().lines()).hasSize(1);
  }

  @Test
  void saysWhatIsWrongWithPrompts() throws IOException {
    Path unequal = folder.resolve("unequal.json");
    new PromptDataset(
            List.of(new PromptPair("Mary and John", "Mary and", List.of("Mary"), List.of("John"))))
        .write(unequal);
    assertFailure(
        withPrompts(unequal),
        "unequal.json: prompts[0].corrupt has 2 tokens, clean has 3",
        "['Mary', 'and', 'John']");

    Path lengths = folder.resolve("lengths.json");
    new PromptDataset(
            List.of(
                new PromptPair("Mary and", "John and", List.of("Mary"), List.of("John")),
                new PromptPair("and", "to", List.of("Mary"), List.of("John"))))
        .write(lengths);
    assertFailure(
        withPrompts(lengths, "--per-position"),
        lengths + ": prompts[1].clean has 1 token, prompts[0].clean has 2; scores per position");
    assertThat(withPrompts(lengths).code()).isEqualTo(Main.OK);
    Path tail = folder.resolve("tail.json");
    Files.writeString(
        tail, Files.readString(prompts).replaceFirst("\\]\\s*\\}\\s*$", ", {\"clean\": "));
    assertThat(withPrompts(tail, "--limit", 2, "--random", 0).code()).isEqualTo(Main.OK);
    assertFailure(withPrompts(tail), tail + ": not valid JSON");

    Path broken = folder.resolve("broken.json");
    Files.writeString(broken, "{\"prompts\": [{\"clean\": \"Mary\"}]}");
    CommandRun all = withPrompts(broken);
    assertThat(all.code()).isEqualTo(Main.FAILURE);
    assertThat(all.err())
        .contains("broken.json: 3 problems", "prompts[0].answers is missing", "prompts[0].corrupt");
    assertFailure(withPrompts(folder.resolve("none.json")), "none.json: no such file");
  }

  @Test
  void saysWhatIsProbablyNotMeant() throws IOException {
    assertUsage(
        CommandRun.of("discover", "--overwrite", "--model", model), "--model needs --prompts FILE");

    PromptPair pair = TinyModel.prompts().prompts().get(0);
    Path twice = folder.resolve("twice.json");
    new PromptDataset(List.of(pair, TinyModel.prompts().prompts().get(1), pair)).write(twice);
    CommandRun run = withPrompts(twice, "--held-out", "34", "--random", 0);
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(run.err()).contains("warning: prompts[2] is prompts[0] once more");

    Path unknown = folder.resolve("unknown.json");
    new PromptDataset(
            List.of(new PromptPair("Mary saw it", "John saw it", List.of("to"), List.of("and"))))
        .write(unknown);
    CommandRun words = withPrompts(unknown, "--random", 0);
    assertThat(words.code()).isEqualTo(Main.OK);
    assertThat(words.err())
        .startsWith(
            "warning: prompts[0].clean: not in the vocabulary, the model reads <|unk|>: \"saw\"");

    Path same = folder.resolve("same.json");
    new PromptDataset(
            List.of(new PromptPair("Mary and", "Mary and", List.of("Mary"), List.of("John"))))
        .write(same);
    assertFailure(withPrompts(same), "same.json: prompts[0].corrupt has the tokens of clean");

    Path mixed = folder.resolve("mixed.json");
    new PromptDataset(
            List.of(
                new PromptPair("Mary and", "John and", List.of("Mary"), List.of()),
                new PromptPair("Mary and", "John and", List.of("Mary"), List.of("John"))))
        .write(mixed);
    assertFailure(withPrompts(mixed), "mixed.json: prompts[0].wrong_answers is empty while others");

    Path lengthy = folder.resolve("long.json");
    String and = "and ".repeat(16);
    new PromptDataset(
            List.of(new PromptPair("Mary " + and, "John " + and, List.of("it"), List.of())))
        .write(lengthy);
    assertFailure(
        withPrompts(lengthy), "prompts[0].clean has 17 tokens, the model takes at most 16");
    assertThat(folder.resolve("scores.json")).isNotEmptyFile();
  }

  @Test
  void saysWhichSpellingTheModelExpectsAndThatScoresAreEqual() throws IOException {
    Path pieces = TinyModel.writeExpecting(folder.resolve("pieces"), "▁s");
    Path file = folder.resolve("pieces.json");
    PromptPair pair = new PromptPair("Lily'", "Lily,", List.of("s"), List.of());
    new PromptDataset(List.of(pair, new PromptPair("Lil'", "Lil,", List.of("s"), List.of())))
        .write(file);
    CommandRun run = run(pieces, file, "--held-out", 0);
    assertThat(run.err())
        .containsPattern(
            "warning: prompts\\[0\\].answers\\[0\\]: the model expects '▁s' \\([\\d.]+ %\\) rather"
                + " than 's' \\([\\d.e-]+ %\\); write \" s\" \\(and 1 answer more\\)");
    // Whatever is patched, this model's logits stay.
    assertThat(run.code()).isEqualTo(Main.FAILURE);
    assertThat(run.err()).contains("edges have the same score, 0.0: ");

    new PromptDataset(List.of(new PromptPair("Lily'", "Lily,", List.of(" s"), List.of())))
        .write(file);
    assertThat(run(pieces, file).err()).doesNotContain("the model expects");
  }

  @Test
  void positionsHaveLabelsOrTokens() throws IOException {
    CommandRun tokens = discover("--per-position", "--random", 0, "--top", 400);
    assertThat(tokens.out()).containsPattern(" 1  'and' ").containsPattern(" 0  \\(differs\\) ");
    Path labelled = folder.resolve("labelled.json");
    new PromptDataset(
            List.of("A", "and", "B", "went", ",", "subject", "gave", "it", "to"),
            java.util.Map.of(),
            TinyModel.prompts().prompts())
        .write(labelled);
    CommandRun labels = withPrompts(labelled, "--per-position", "--random", 0, "--top", 400);
    assertThat(labels.out()).containsPattern(" 5  subject ");
    Path picture = folder.resolve("labelled.svg");
    withPrompts(
        labelled, "--per-position", "--random", 0, "--picture", picture, "--picture-edges", 400);
    assertThat(picture).content().contains("position 5 subject: ");
  }

  private CommandRun withPrompts(Path file, Object... more) {
    return run(model, file, more);
  }

  @Test
  void saysWhatIsWrongWithAModel() throws IOException {
    CommandRun missing =
        CommandRun.of(
            "discover", "--overwrite", "--prompts", prompts, "--model", folder.resolve("gone"));
    assertFailure(
        missing,
        "gone: no such folder or file; nothing is downloaded: expected a folder with config.json");
    // The message says what the folder is, not that it lacks a tokenizer, too.
    Path other = Files.createDirectory(folder.resolve("other"));
    Files.copy(model.resolve("config.json"), other.resolve("config.json"));
    Files.createFile(other.resolve("pytorch_model.bin"));
    assertFailure(
        CommandRun.of("discover", "--overwrite", "--prompts", prompts, "--model", other),
        other + ": found pytorch_model.bin, but only model.safetensors");
    assertFailure(
        CommandRun.of("run", "--prompt", "a", "--model", other),
        other + ": found pytorch_model.bin, but only model.safetensors");
    Path link = Files.createSymbolicLink(folder.resolve("link"), Path.of("gone"));
    assertFailure(
        CommandRun.of("run", "--prompt", "a", "--model", link),
        link + ": a link to gone, where nothing is");
    assertFailure(CommandRun.of("graph", link), link + ": a link to gone, where nothing is");

    Path truncated = Files.createDirectory(folder.resolve("truncated"));
    for (String file : List.of("config.json", "tokenizer.json", "model.safetensors")) {
      Files.copy(model.resolve(file), truncated.resolve(file));
    }
    byte[] weights = Files.readAllBytes(truncated.resolve("model.safetensors"));
    Files.write(
        truncated.resolve("model.safetensors"), Arrays.copyOf(weights, weights.length - 100));
    CommandRun run = run(truncated, prompts);
    assertFailure(run, "model.safetensors");
    assertThat(folder.resolve("scores.json")).doesNotExist();
  }

  private static void assertFailure(CommandRun run, String... messages) {
    assertThat(run.code()).as("%s", run).isEqualTo(Main.FAILURE);
    assertThat(run.err()).contains(messages);
    assertThat(run.err().lines()).hasSize(1);
  }

  /** Logits of some 100,000, which FLOAT16 has not. */
  @Test
  void saysThatLogitsAreNotFinite() throws IOException {
    Path great = TinyModel.write(folder.resolve("great"), 2e4);
    CommandRun overflow = run(great, prompts, "--dtype", "FLOAT16");
    assertFailure(overflow, "logits are not finite (overflow in FLOAT16? try BFLOAT16 or FLOAT32)");
    assertThat(overflow.out()).doesNotContain("KL", "score");
    assertThat(folder.resolve("scores.json")).doesNotExist();
    assertThat(run(great, prompts, "--dtype", "FLOAT32").code()).isEqualTo(Main.OK);
    CommandRun prompt =
        CommandRun.of("run", "--model", great, "--dtype", "FLOAT16", "--prompt", "Mary and John");
    assertFailure(prompt, "logits are not finite (overflow in FLOAT16?");
    assertThat(prompt.out()).doesNotContain("next token");
  }

  @Test
  void debugShowsWhere() {
    CommandRun run =
        CommandRun.of(
            "discover",
            "--overwrite",
            "--debug",
            "--prompts",
            prompts,
            "--model",
            folder.resolve("gone"));
    assertThat(run.err()).contains("CheckpointException", "at org.autocircuit.cli");
  }
}
