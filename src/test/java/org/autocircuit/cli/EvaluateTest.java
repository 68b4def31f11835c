package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.checkpoint.HuggingFaceConfig;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.text.Circuit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Scores of a file: evaluated, compared with others, and run on a prompt. */
class EvaluateTest {

  @TempDir private static Path shared;

  private static Path model;
  private static Path prompts;
  private static Path exact;
  private static Path random;

  @TempDir private Path folder;

  @BeforeAll
  static void writeScores() throws IOException {
    model = TinyModel.write(shared.resolve("tiny"));
    prompts = shared.resolve("pairs.json");
    TinyModel.prompts().write(prompts);
    exact = scores("exact");
    random = scores("random");
  }

  private static Path scores(String method) {
    Path file = shared.resolve(method + ".json");
    CommandRun run =
        withModel("discover", "--method", method, "--output", file, "--no-picture", "--random", 0);
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    return file;
  }

  private static CommandRun withModel(String command, Object... more) {
    List<Object> arguments =
        new ArrayList<>(List.of(command, "--model", model, "--prompts", prompts));
    arguments.addAll(List.of(more));
    return CommandRun.of(arguments.toArray());
  }

  private static CommandRun evaluate(Object... more) {
    List<Object> arguments = new ArrayList<>(List.of("--scores", exact));
    arguments.addAll(List.of(more));
    return withModel("evaluate", arguments.toArray());
  }

  @Test
  void printsFaithfulnessUnderConditionsThatItNames() throws IOException {
    Path file = folder.resolve("measures.json");
    CommandRun run = evaluate("--json", file);
    assertThat(run.err()).isEmpty();
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(run.out().replaceAll("\\s+", " "))
        .contains(
            "logit difference of 6 prompts; all but the circuit patched, ablation resample,"
                + " noising, absolute ranking")
        .containsPattern(" 46 100.0 % 2.39\\d+ [\\d.]+ 100.0 % 0.0000 0.0 %")
        .containsPattern("CPR [\\d.]+, CMD [\\d.]+");
    assertThat(run.out().lines()).allMatch(line -> line.length() <= 80 || line.contains("/"));
    JsonNode json = new ObjectMapper().readTree(file.toFile());
    assertThat(json.at("/evaluations/0/circuits")).hasSize(10);
    assertThat(json.at("/evaluations/0/circuits/9/faithfulness").asDouble()).isEqualTo(1);
    assertThat(json.at("/evaluations/0/circuits/0/faithfulness").asDouble()).isZero();
    assertThat(json.at("/evaluations/0/conditions/ablation").asText()).isEqualTo("resample");
  }

  @Test
  void evaluatesOnAPage() throws IOException {
    Path page = folder.resolve("page.html");
    Path file = folder.resolve("measures.json");
    CommandRun run =
        evaluate("--ablation", "resample,zero", "--page", page, "--json", file, "--baselines", 2);
    assertThat(run.err()).isEmpty();
    assertThat(run.out()).contains(page + " (to open in a browser)");
    assertThat(run.out().lines()).allMatch(line -> line.length() <= 80 || line.contains("/"));
    JsonNode curves = DiscoverTest.pageData(page).get("curves");
    JsonNode evaluations = new ObjectMapper().readTree(file.toFile()).get("evaluations");
    assertThat(curves.findValuesAsText("name").stream().filter(name -> !name.contains(" ")))
        .contains("resample", "zero");
    for (int i = 0; i < 2; i++) {
      JsonNode curve = curves.get(i);
      assertThat(curve.get("cpr").asDouble())
          .isCloseTo(evaluations.get(i).get("cpr").asDouble(), within(1e-6));
      assertThat(curve.get("found")).hasSize(10);
      assertThat(curve.at("/found/3/prompts")).hasSize(6);
      assertThat(curve.get("baselines").findValuesAsText("name"))
          .containsExactly("random", "same degrees", "weight norms");
      JsonNode random = evaluations.get(i).at("/baselines/0/circuits");
      assertThat(random.findValuesAsText("edges")).containsExactly("2", "4", "9", "23");
      assertThat(curve.at("/baselines/0/points/3/recovered").asDouble())
          .isCloseTo(random.at("/3/faithfulness").asDouble(), within(1e-6));
    }
    assertThat(run.out())
        .containsPattern("edges +faithful +random +same degrees +weight norms\n")
        .contains("the mean of 2 random circuits, that of 2 circuits");
    assertUsage(evaluate("--ablation", "zero,zero"), "--ablation names one twice: zero,zero");
    assertUsage(evaluate("--baselines", -1), "--baselines must be at least 0");
    assertUsage(evaluate("--page", exact), "--page " + exact + " is the file of --scores, too");
  }

  @Test
  void everyConditionMatters() {
    Set<String> different = new TreeSet<>();
    List<List<String>> conditions =
        List.of(
            List.of(),
            List.of("--ablation", "zero"),
            List.of("--ablation", "tokenwise-mean-corrupt"),
            List.of("--patch-type", "edge"),
            List.of("--direction", "denoising"),
            List.of("--metric", "prob"),
            List.of("--signed"),
            List.of("--held-out", "25"));
    for (List<String> condition : conditions) {
      CommandRun run = evaluate(condition.toArray());
      assertThat(run.code()).as("%s: %s", condition, run.err()).isEqualTo(Main.OK);
      different.add(run.out().substring(run.out().indexOf("\n\n")));
    }
    assertThat(different).hasSameSizeAs(conditions);
  }

  @Test
  void saysWhatIsWrongWithScores() throws IOException {
    assertFailure(
        withModel("evaluate", "--scores", folder.resolve("none.json")),
        "none.json: no such file; 'autocircuit discover' writes one");
    Path other = Files.writeString(folder.resolve("other.json"), "{\"format\": \"x\"}");
    assertFailure(withModel("evaluate", "--scores", other), "other.json");
    assertFailure(evaluate("--joint"), "exact.json", "separate_qkv");
    assertUsage(withModel("evaluate"), "Missing required option: '--scores=FILE'");
    assertUsage(evaluate("--json", exact), "--json " + exact + " is the file of --scores, too");
    assertUsage(evaluate("--ablation", "none"), "expected one of resample, zero");
    assertUsage(
        evaluate("--patch-type", "none"),
        "expected one of tree, edge, got 'none'; did you mean 'edge'? 'autocircuit");
  }

  private static void assertUsage(CommandRun run, String... messages) {
    assertThat(run.code()).as("%s", run).isEqualTo(Main.USAGE);
    assertThat(run.err()).contains(messages);
  }

  private static void assertFailure(CommandRun run, String... messages) {
    assertThat(run.code()).as("%s", run).isEqualTo(Main.FAILURE);
    assertThat(run.err()).contains(messages);
    assertThat(run.err().lines()).hasSize(1);
  }

  @Test
  void comparesFilesAndMethods() {
    CommandRun run = withModel("compare", exact, random, "--methods", "exact,eap");
    assertThat(run.err()).isEmpty();
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(run.out())
        .contains("A        " + exact, "D        eap (edge attribution patching)")
        .containsPattern("A and C +1.000 +100 % +100 % +100 % +100 %\n")
        .containsPattern("\n +46( +100.0 %){5}\n")
        .containsPattern("CPR +[\\d.-]+ +[\\d.-]+ +[\\d.-]+ +[\\d.-]+\n")
        .contains("Faithfulness on 6 held-out prompts");
    assertUsage(withModel("compare", exact), "expected two or more files of scores or --methods");
    assertUsage(withModel("compare", exact, "--all-methods"), "--all-methods runs all methods");
    assertUsage(withModel("compare", "--methods", "eap,eap"), "names a method twice");
    assertUsage(
        withModel("compare", "--methods", "eap,exact", "--epochs", 3),
        "--epochs has no effect with eap, exact; it is for subnetwork-probing");
    assertFailure(withModel("compare", exact, folder.resolve("no.json")), "no.json: no such file");
  }

  @Test
  void comparesOnAPage() throws IOException {
    Path page = folder.resolve("page.html");
    CommandRun run = withModel("compare", exact, random, "--methods", "eap", "--page", page);
    assertThat(run.err()).isEmpty();
    assertThat(run.out()).contains(page + " (to open in a browser)");
    JsonNode data = DiscoverTest.pageData(page);
    assertThat(data.at("/methods").findValuesAsText("name"))
        .containsExactly(exact.toString(), random.toString(), "edge attribution patching");
    assertThat(data.at("/methods").findValuesAsText("sign"))
        .containsExactly("signed", "unsigned", "signed");
    assertThat(data.at("/facts").toString()).contains("compare --model ");
    assertUsage(
        withModel("compare", exact, random, "--page", exact),
        "--page " + exact + " is the file of");
    assertUsage(
        withModel("compare", "--all-methods", "--page", folder.resolve("other.html")),
        "--page has no effect with --all-methods");
  }

  @Test
  void printsTheTableOfAllMethods() {
    CommandRun run =
        withModel("compare", "--all-methods", "--thresholds", "1e-5,1e-3", "--epochs", 2);
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    for (Method method : Method.values()) {
      assertThat(run.out().lines().filter(line -> line.startsWith("  " + method + " ")))
          .as("%s", method)
          .hasSize(2);
    }
    assertThat(run.out())
        .containsPattern("method +CPR +CMD +KL 5 % +KL 10 % +KL 20 % +rank corr. +forwards")
        .containsPattern("\n  exact .* 1.000 +\\d\\d +0 +[\\d.]+ +[\\d.]+\n")
        .containsPattern("\n  eap .* 0 +1 +[\\d.]+ +[\\d.]+\n")
        .containsPattern("\n  exact +1.00 +1.00 +1.00 +1.00 +1.00 +1.00\n")
        .containsPattern("\n  eap +1.00 +0.75 +1.00 +0.81 +1.00 +0.80\n");
  }

  @Test
  void runsACircuitOfAFileOnAPrompt() {
    String clean = "Mary and John went, John gave it to";
    String corrupt = "Mary and John went, Mary gave it to";
    List<Object> arguments =
        List.of("run", "--model", model, "--prompt", clean, "--corrupt", corrupt);
    CommandRun all = run(arguments, "--scores", exact, "--size", 46);
    assertThat(all.code()).as(all.err()).isEqualTo(Main.OK);
    assertThat(all.out()).contains("patched  all edges but the best 46 of 46 by " + exact);
    CommandRun none = run(arguments, "--scores", exact, "--size", 0);
    CommandRun some = run(arguments, "--scores", exact, "--size", 10);
    assertThat(Set.of(table(all), table(none), table(some))).hasSize(3);
    String row = table(all).lines().skip(1).findFirst().orElseThrow().strip();
    String[] cells = row.split("\\s{2,}");
    assertThat(List.of(cells).subList(1, 4)).isEqualTo(List.of(cells).subList(4, 7));

    assertUsage(
        run(arguments, "--scores", exact),
        "--scores " + exact + " has the scores of all edges: --size N says how many to keep");
    assertUsage(run(arguments, "--size", 3), "--scores FILE and --size N belong together");
    assertUsage(run(arguments, "--scores", exact, "--size", -1), "--size must not be negative");
    assertUsage(
        run(arguments, "--scores", exact, "--size", 1, "--patch", "MLP 0->MLP 1"),
        "--patch and --scores both say what is patched");
    assertUsage(
        run(arguments, "--scores", exact, "--size", 47), "--size 47: the graph has only 46 edges");
  }

  /** Edges that nobody scored are in no circuit, however large a one is asked for. */
  @Test
  void aSavedCircuitHasTheSizeThatItWasSavedWith() throws IOException {
    ModelGraph graph =
        PatchableModelOptions.defaults().graph(HuggingFaceConfig.ofModel(model).transformer());
    Path file = folder.resolve("circuit.json");
    Circuit.ofNames(graph, List.of("A1.0->Resid End", "MLP 1->Resid End", "A0.1->A1.0.V"))
        .save(file);
    List<Object> arguments = List.of("run", "--model", model, "--prompt", "Mary and John went");
    CommandRun whole = run(arguments, "--scores", file);
    assertThat(whole.err()).isEmpty();
    assertThat(whole.out()).contains("patched  all edges but the best 3 of 46 by " + file);
    assertThat(table(run(arguments, "--scores", file, "--size", 3))).isEqualTo(table(whole));
    assertThat(run(arguments, "--scores", file, "--size", 2).out()).contains("the best 2 of 46");
    assertUsage(
        run(arguments, "--scores", file, "--size", 4),
        "circuit.json is a circuit of 3 edges; --size 4 asks for more");
    String refused = "circuit.json is a circuit of 3 edges, expected the scores of all 46";
    assertFailure(withModel("evaluate", "--scores", file), refused);
    assertFailure(withModel("compare", exact, file), refused);
    assertFailure(run(arguments, "--scores", file, "--joint"), "is a circuit of another graph");
  }

  @Test
  void runsAndComparisonsAreThereForPrograms() throws IOException {
    Path compared = folder.resolve("compared.json");
    CommandRun run = withModel("compare", exact, random, "--methods", "exact", "--json", compared);
    assertThat(run.err()).isEmpty();
    JsonNode json = new ObjectMapper().readTree(compared.toFile());
    assertThat(json.at("/scores").findValuesAsText("name"))
        .hasSize(3)
        .startsWith(exact.toString(), random.toString());
    assertThat(json.at("/scores/0/circuits/9/faithfulness").asDouble()).isEqualTo(1);
    assertThat(json.at("/pairs/1/names/1").asText()).startsWith("exact (");
    assertThat(json.at("/pairs/1/rank_correlation").asDouble()).isEqualTo(1);
    assertThat(json.at("/pairs/1/overlaps/0/edges").asInt()).isEqualTo(1);

    Path next = folder.resolve("next.json");
    List<Object> arguments =
        List.of("run", "--model", model, "--prompt", "Mary and John went", "--json", next);
    run = run(arguments, "--patch", "MLP 1->Resid End", "--top-k", 2);
    assertThat(run.err()).isEmpty();
    assertThat(run.out()).contains("json     " + next);
    json = new ObjectMapper().readTree(next.toFile());
    assertThat(json.at("/patched/0").asText()).isEqualTo("MLP 1->Resid End");
    assertThat(json.at("/tokens")).hasSize(4);
    assertThat(json.at("/before")).hasSize(2);
    assertThat(json.at("/after/0/probability").asDouble()).isPositive();
    assertThat(table(run)).contains(json.at("/before/0/text").asText());
    assertUsage(run(arguments), "next.json is there already; --overwrite replaces it");
  }

  private static String table(CommandRun run) {
    return run.out().substring(run.out().indexOf("  #"));
  }

  private static CommandRun run(List<Object> arguments, Object... more) {
    List<Object> all = new ArrayList<>(arguments);
    all.addAll(List.of(more));
    return CommandRun.of(all.toArray());
  }

  @Test
  void intervalsHoldWhatIsMeasured() throws IOException {
    assertThat(CommandRun.of("evaluate", "--help").out().replaceAll("\\s+", " "))
        .contains("that hold 95 % of what as many other prompts");
    Path json = folder.resolve("measures.json");
    CommandRun run = evaluate("--intervals", "--json", json);
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    assertThat(run.out())
        .containsPattern("1\\.00 \\(1\\.00 to 1\\.00\\)")
        .containsPattern("CPR -?[\\d.]+ \\(-?[\\d.]+ to -?[\\d.]+\\), CMD ")
        .contains("95 per cent of the replicates");
    assertThat(run.out().lines()).allMatch(line -> line.length() <= 80 || line.contains("/"));
    JsonNode root = new ObjectMapper().readTree(json.toFile());
    assertThat(root.at("/evaluations/0/cpr_interval/low").asDouble())
        .isLessThanOrEqualTo(root.at("/evaluations/0/cpr").asDouble());
    int open = 0;
    for (JsonNode circuit : root.at("/evaluations/0/circuits")) {
      double low = circuit.at("/faithfulness_interval/low").asDouble();
      double high = circuit.at("/faithfulness_interval/high").asDouble();
      assertThat(circuit.get("faithfulness").asDouble()).isBetween(low - 1e-9, high + 1e-9);
      open += high > low ? 1 : 0;
    }
    assertThat(open).isPositive();
    assertThat(evaluate().out()).doesNotContain("bootstrap", "1.00 (");
  }
}
