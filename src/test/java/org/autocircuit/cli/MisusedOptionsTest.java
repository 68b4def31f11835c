package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.autocircuit.data.PromptDataset;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Options that do nothing, contradict themselves or go too far are refused, and the reason said.
 */
class MisusedOptionsTest {

  @TempDir private static Path shared;

  private static Path model;
  private static Path prompts;
  private static Path exact;
  private static Path found;

  @TempDir private Path folder;

  @BeforeAll
  static void writeScores() throws IOException {
    model = TinyModel.write(shared.resolve("tiny"));
    prompts = shared.resolve("pairs.json");
    TinyModel.prompts().write(prompts);
    exact = shared.resolve("exact.json");
    found = shared.resolve("found.json");
    CommandRun run = discover(exact, "--method", "exact", "--json", found);
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
  }

  private static CommandRun discover(Path output, Object... more) {
    List<Object> arguments =
        new ArrayList<>(List.of("--output", output, "--overwrite", "--no-picture"));
    arguments.addAll(List.of("--random", 0));
    arguments.addAll(List.of(more));
    return withModel("discover", arguments.toArray());
  }

  private CommandRun discover(Object... more) {
    return discover(folder.resolve("scores.json"), more);
  }

  private static CommandRun withModel(String command, Object... more) {
    List<Object> arguments =
        new ArrayList<>(List.of(command, "--model", model, "--prompts", prompts));
    arguments.addAll(List.of(more));
    return CommandRun.of(arguments.toArray());
  }

  private static CommandRun run(Object... more) {
    List<Object> arguments =
        new ArrayList<>(List.of("run", "--model", model, "--prompt", "Mary and John went"));
    arguments.addAll(List.of(more));
    return CommandRun.of(arguments.toArray());
  }

  private static void assertUsage(CommandRun run, String... messages) {
    assertThat(run.code()).as("%s", run).isEqualTo(Main.USAGE);
    assertThat(run.err()).contains(messages);
    assertThat(run.err().lines()).hasSize(1);
    assertThat(run.out()).isEmpty();
  }

  @Test
  void optionsOfMethodsHaveNoEffectOnFiles() throws IOException {
    Path copy = Files.copy(exact, folder.resolve("copy.json"));
    assertUsage(
        withModel("compare", exact, copy, "--points", 3),
        "--points has no effect without methods; it is for eap-ig, eap-ig-activations, mask-ig;");
    assertUsage(
        withModel("compare", exact, copy, "--seed", 3),
        "--seed has no effect without methods; it is for subnetwork-probing, edge-pruning, random");
    assertUsage(
        withModel("compare", exact, "--methods", "eap", "--seed", 3),
        "--seed has no effect with eap;");
    // Faithfulness is measured in the metric, whatever scores there are.
    CommandRun run = withModel("compare", exact, copy, "--metric", "prob", "--ablation", "zero");
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    assertThat(run.out()).contains("probability difference of 6 prompts", "ablation\nzero");
  }

  @Test
  void aFileIsComparedWithOthersOnly() throws IOException {
    assertUsage(withModel("compare", exact, exact), exact + " is named twice");
    Path link = Files.createSymbolicLink(folder.resolve("link.json"), exact);
    assertUsage(withModel("compare", exact, link), link + " is the file of " + exact + ", too");
  }

  @Test
  void inputsThatAreNotThereAreNamedBeforeOutputsThatAre() throws IOException {
    Path there = Files.createFile(folder.resolve("there.json"));
    Path missing = folder.resolve("missing");
    for (List<Object> words :
        List.<List<Object>>of(
            List.of("discover", "--prompts", missing, "--output", there),
            List.of("discover", "--model", missing, "--prompts", prompts, "--output", there),
            List.of("evaluate", "--scores", missing, "--json", there),
            List.of("evaluate", "--scores", exact, "--prompts", missing, "--json", there),
            List.of("compare", exact, missing, "--page", there),
            List.of("patch-map", "--prompts", missing, "--json", there))) {
      CommandRun run = CommandRun.of(words.toArray());
      assertThat(run.code()).as("%s", run).isEqualTo(Main.FAILURE);
      assertThat(run.err()).contains("missing: no such f").doesNotContain("there.json");
    }
  }

  @Test
  void unknownOptionsAreNamedWithoutTheirValues() {
    assertUsage(run("--pages", "x.html"), "Unknown option: '--pages';");
    assertUsage(run("--pages", "x.html", "--jsons", "-1"), "Unknown options: '--pages', '--jsons'");
  }

  @Test
  void anEmptyPromptIsWarnedOf() {
    CommandRun run = CommandRun.of("run", "--prompt", "");
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    assertThat(run.err()).contains("warning: --prompt is empty: the answer follows");
  }

  @Test
  void namesAreListedOnceAndTheNearestIsSuggested() {
    CommandRun run = discover("--method", "eapig");
    assertUsage(run, "expected one of eap, eap-ig, eap-ig-activations", "did you mean 'eap-ig'?");
    assertThat(run.err()).doesNotContain("EAP");
    assertUsage(discover("--ablation", "zeros"), "did you mean 'zero'?");
    assertUsage(withModel("patch-map", "--of", "head"), "resid, attn, mlp, heads", "'heads'?");
    assertThat(discover("--method", "EAP_IG", "--limit", 2).code()).isEqualTo(Main.OK);
  }

  @Test
  void aBudgetIsSomeSecondsOrNone() {
    assertUsage(discover("--budget", "1e300"), "--budget must be seconds, 0 to 1,000,000,000, got");
    assertUsage(discover("--budget", "NaN"), "--budget must be seconds, 0 to 1,000,000,000, got");
    CommandRun none = discover("--budget", 0, "--method", "exact");
    assertThat(none.code()).as(none.err()).isEqualTo(Main.OK);
  }

  @Test
  void numbersAreNamedOneByOne() {
    assertUsage(
        discover("--method", "edge-pruning", "--epochs", 0), "--epochs must be at least 1, got 0");
    assertUsage(
        discover("--method", "acdc", "--thresholds", "0.1,0.2,0.1"),
        "--thresholds names a threshold twice: [0.1, 0.2, 0.1]");
  }

  @Test
  void aFileHasAName() {
    assertUsage(withModel("discover", "--output", ""), "expected the name of a file or folder");
    assertUsage(withModel("evaluate", "--scores", " "), "'--scores'", "expected the name of a");
  }

  @Test
  void whatNeedsNoWeightsIsSaidBeforeTheyAreLoaded() throws IOException {
    Path scores = Files.writeString(folder.resolve("scores.json"), "{\"format\": \"x\"}");
    List<String> loaded = new ArrayList<>();
    Logger logger = Logger.getLogger("org.autocircuit.model");
    Handler handler = new Listener(loaded);
    Level level = logger.getLevel();
    logger.addHandler(handler);
    logger.setLevel(Level.ALL);
    try {
      for (CommandRun run :
          List.of(
              withModel("evaluate", "--scores", scores),
              withModel("compare", scores, exact),
              run("--scores", scores, "--size", 3))) {
        assertThat(run.code()).isEqualTo(Main.FAILURE);
        assertThat(run.err()).contains("scores.json, line 1");
      }
      assertUsage(discover("--edges", 47), "--edges 47: the graph has only 46 edges");
      assertUsage(run("--scores", exact, "--size", 47), "--size 47: the graph has only 46 edges");
      assertThat(loaded).isEmpty();
      assertThat(run().code()).isEqualTo(Main.OK);
      assertThat(loaded).isNotEmpty();
    } finally {
      logger.removeHandler(handler);
      logger.setLevel(level);
    }
  }

  private static final class Listener extends Handler {

    private final List<String> messages;

    Listener(List<String> messages) {
      this.messages = messages;
    }

    @Override
    public void publish(LogRecord message) {
      messages.add(message.getMessage());
    }

    @Override
    public void flush() {}

    @Override
    public void close() {}
  }

  @Test
  void saysWhichFileHasTheScores() {
    for (CommandRun run :
        List.of(withModel("evaluate", "--scores", found), run("--scores", found, "--size", 3))) {
      assertThat(run.code()).isEqualTo(Main.FAILURE);
      assertThat(run.err())
          .contains(
              "found.json: what 'discover --json' writes; the scores are in the file that 'discover"
                  + " --output' names, by default autocircuit-scores.json");
    }
  }

  @Test
  void saysWhatOptionsOfARunAreFor() {
    assertUsage(
        run("--per-position"),
        "--per-position says what --scores are of, and has no effect without them");
    CommandRun many = run("--top-k", 100000);
    assertThat(many.code()).isEqualTo(Main.OK);
    assertThat(many.err()).contains("warning: --top-k 100,000: the vocabulary has only 12 tokens");
  }

  @Test
  void oneIsCountedAsOne() {
    assertThat(discover("--limit", 2).out().replaceAll("\\s+", " "))
        .contains("pairs of 9 tokens, 1 to find the circuit, 1 other to test it")
        .contains("Circuits on 1 held-out prompt,");
    assertThat(withModel("patch-map", "--limit", 1, "--no-picture").out())
        .contains(": 1 pair of 9 tokens", "of 1 prompt;");
    assertThat(run("--tokens").out()).contains("(4 tokens)");
  }

  @Test
  void saysThatEqualScoresStayTogetherOrWhereTheyAreCut() throws IOException {
    CommandRun acdc =
        discover(
            "--method",
            "acdc",
            "--thresholds",
            "1e-4",
            "--edges",
            "1,2,40",
            "--json",
            folder.resolve("acdc.json"));
    assertThat(acdc.code()).as(acdc.err()).isEqualTo(Main.OK);
    String out = acdc.out().replaceAll("\\s+", " ");
    assertThat(out)
        .contains(
            "Scores by ACDC, in nats",
            "Infinity: it was removed at none, not even at the greatest;")
        .contains("heads that matter most, by numbers of edges with infinite scores")
        .containsPattern(
            "Edges whose scores are equal stay together: for 0, 1, 2 the circuit has \\d+; for 40"
                + " the circuit has 46\\.");
    assertThat(out.substring(out.indexOf("heads that matter"), out.indexOf("Circuits on")))
        .doesNotContain("Infinity");
    assertThat(folder.resolve("acdc.json")).content().contains("\"asked_for\" : [ 0, 1, 2 ]");
    assertThat(discover("--method", "exact").out()).doesNotContain("stay together");

    String exactSizes = "Circuits have exactly these sizes: of edges whose scores are equal, those";
    Path scores = folder.resolve("scores.json");
    assertThat(withModel("evaluate", "--scores", scores).out()).contains(exactSizes);
    assertThat(withModel("compare", exact, scores, "--methods", "acdc").out().replace("\n", " "))
        .contains(
            exactSizes, "- where scores are equal, so that they pick no circuit of that size");
  }

  @Test
  void randomScoresMeanNothing() {
    assertThat(discover("--method", "random").out())
        .contains("Scores are random numbers: a yardstick")
        .doesNotContain("the more the edge matters");
  }

  @Test
  void promptsOfOnePairAreEnough() {
    Path one = folder.resolve("one.json");
    new PromptDataset(TinyModel.prompts().prompts().subList(0, 1)).write(one);
    CommandRun run =
        CommandRun.of(
            "discover",
            "-m",
            model,
            "-p",
            one,
            "-o",
            folder.resolve("s"),
            "--no-picture",
            "--random",
            0);
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    assertThat(run.out()).contains("Circuits on the same 1 prompt,");
  }
}
