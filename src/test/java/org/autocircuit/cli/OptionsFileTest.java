package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine.ParameterException;

/** Options come from a file, as if they had been typed. */
class OptionsFileTest {

  @TempDir private Path folder;

  private Path file(String... lines) throws IOException {
    return Files.write(folder.resolve("my.properties"), List.of(lines));
  }

  private static List<String> expanded(Object... words) {
    return List.of(
        OptionsFile.expand(
            Main.commandLine(),
            List.of(words).stream().map(Object::toString).toArray(String[]::new)));
  }

  private static void refused(String problem, Object... words) {
    CommandRun run = CommandRun.of(words);
    assertThat(run.code()).as(run.out()).isEqualTo(Main.USAGE);
    assertThat(run.err()).contains(problem);
  }

  @Test
  void whatIsTypedWinsAndTheCommandsOwnLinesWinOverThoseOfAll() throws IOException {
    Path file =
        file(
            "method = exact",
            "seed = 3",
            "discover.seed = 4",
            "evaluate.signed = true",
            "limit = 8",
            "per-position = false",
            "no-picture = true",
            "# a line for people",
            "metric = prob");
    assertThat(expanded("discover", "--options", file, "--limit=2", "-o", "x"))
        .containsExactly(
            "discover",
            "--method=exact",
            "--metric=prob",
            "--no-picture",
            "--seed=4",
            "--limit=2",
            "-o",
            "x");
    // Of other commands' options those that this one lacks have no effect.
    assertThat(expanded("--debug", "evaluate", "--options=" + file, "-s", "x"))
        .containsExactly(
            "--debug", "evaluate", "--limit=8", "--metric=prob", "--signed", "-s", "x");
    assertThat(expanded("--options", file, "compare"))
        .containsExactly("compare", "--limit=8", "--metric=prob", "--seed=3");
  }

  @Test
  void aTypedOptionWinsOverThoseThatItExcludes() throws IOException {
    Path file = file("separate-qkv = true");
    assertThat(expanded("discover", "--options", file, "--joint"))
        .containsExactly("discover", "--joint");
    assertThat(expanded("discover", "--options", file))
        .containsExactly("discover", "--separate-qkv");
  }

  @Test
  void anOptionCanHaveSeveralNumberedValues() throws IOException {
    Path file = file("run.patch.2 = b->c", "run.patch.10 = c->d", "run.patch.1 = a->b");
    assertThat(expanded("run", "--options", file))
        .containsExactly("run", "--patch=a->b", "--patch=b->c", "--patch=c->d");
    assertThatExceptionOfType(ParameterException.class)
        .isThrownBy(() -> expanded("discover", "--options", file("seed.1=1", "seed.2=2")))
        .withMessageContaining("'seed' takes one value");
  }

  @Test
  void whatNoCommandKnowsIsRefusedWithTheNearestName() throws IOException {
    refused(
        "'batch-sise' is no option of any command; did you mean 'batch-size'?",
        "discover",
        "--options",
        file("batch-sise=8"));
    refused(
        "'evaluate.methods' is no option", "discover", "--options", file("evaluate.methods=exact"));
    refused("'help' is no option", "discover", "--options", file("help=true"));
    refused(
        "per-position: expected true or false, got '1'",
        "discover",
        "--options",
        file("per-position=1"));
    refused("sets 'seed' twice", "discover", "--options", file("seed=1", "seed=2"));
    refused("no such file", "discover", "--options", folder.resolve("none"));
    refused("cannot be read", "discover", "--options", folder);
    refused("--top must be at least 1", "discover", "--options", file("top=0"));
    refused("--options", "discover", "--options");
    refused("--options", "discover", "--options", file("top=1"), "--options", file("top=2"));
  }

  @Test
  void everyOutputSaysWhichOptionsMadeIt() throws IOException {
    Path scores = folder.resolve("scores.json");
    Path json = folder.resolve("all.json");
    Path page = folder.resolve("page.html");
    Path measures = folder.resolve("measures.json");
    Path file =
        file(
            "limit = 4",
            "discover.method = eap",
            "budget = 0",
            "random = 0",
            "sizes = 5",
            "no-picture = true",
            "discover.output = " + scores,
            "discover.json = " + json,
            "discover.page = " + page,
            "scores = " + scores,
            "evaluate.json = " + measures);
    CommandRun run = CommandRun.of("discover", "--options", file, "--seed", 7);
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    CommandRun evaluation = CommandRun.of("evaluate", "--options", file);
    assertThat(evaluation.code()).as(evaluation.err()).isEqualTo(Main.OK);

    List<JsonNode> commands = new ArrayList<>();
    for (Path output : List.of(scores, json, measures)) {
      JsonNode root = new ObjectMapper().readTree(output.toFile());
      assertThat(root.at("/run/version").asText()).startsWith("autocircuit ");
      commands.add(root.at("/run/command"));
    }
    assertThat(commands.get(0).asText())
        .startsWith("autocircuit discover --budget=0 ")
        .contains(" --limit=4 ", " --method=eap ", " --seed 7")
        .doesNotContain("--options");
    assertThat(commands.get(1)).isEqualTo(commands.get(0));
    assertThat(commands.get(2).asText())
        .isEqualTo(
            "autocircuit evaluate --json=%s --limit=4 --scores=%s".formatted(measures, scores));
    assertThat(page).content().contains("--method=eap");
  }
}
