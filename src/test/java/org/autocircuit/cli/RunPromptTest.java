package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RunPromptTest {

  private static final String CLEAN = "Mary and John went, John gave it to";
  private static final String CORRUPT = "Mary and John went, Mary gave it to";

  @TempDir private static Path shared;

  private static Path model;

  @BeforeAll
  static void writeModel() throws IOException {
    model = TinyModel.write(shared.resolve("tiny"));
  }

  private static CommandRun run(String... more) {
    List<Object> arguments = new ArrayList<>(List.of("run", "--model", model));
    arguments.addAll(List.of(more));
    return CommandRun.of(arguments.toArray());
  }

  @Test
  void printsTheNextTokens() {
    CommandRun run = run("--prompt", CLEAN, "--top-k", "3");
    assertThat(run.err()).isEmpty();
    assertThat(run.code()).isEqualTo(Main.OK);
    assertThat(run.out()).contains("(9 tokens)", "next token", "  3  ").doesNotContain("  4  ");
  }

  @Test
  void printsThemBeforeAndAfterPatching() {
    CommandRun run =
        run("--prompt", CLEAN, "--corrupt", CORRUPT, "--patch", "Resid Start->Resid End");
    assertThat(run.err()).isEmpty();
    assertThat(run.out()).contains("before", "after", "patched  Resid Start->Resid End", CORRUPT);
    CommandRun zeros = run("--prompt", CLEAN, "--patch", "MLP 1->Resid End");
    assertThat(zeros.out()).contains("patched edges carry zeros");
  }

  @Test
  void allEdgesArePatchedButThoseToKeep() {
    String[] kept = {"--keep", "Resid Start->Resid End", "--keep", "MLP 1->Resid End"};
    List<String> arguments = new ArrayList<>(List.of("--prompt", CLEAN, "--corrupt", CORRUPT));
    arguments.addAll(List.of(kept));
    CommandRun run = run(arguments.toArray(String[]::new));
    assertThat(run.err()).isEmpty();
    assertThat(run.out()).contains("patched  all edges but the 2 kept of ");
    List<String> patches = new ArrayList<>(List.of("--prompt", CLEAN, "--corrupt", CORRUPT));
    CommandRun list = CommandRun.of("graph", model.resolve("config.json"), "--list");
    list.out()
        .lines()
        .map(String::strip)
        .filter(name -> name.contains("->") && !List.of(kept).contains(name))
        .forEach(name -> patches.addAll(List.of("--patch", name)));
    assertThat(lastLine(run)).isEqualTo(lastLine(run(patches.toArray(String[]::new))));
    CommandRun both =
        run("--prompt", CLEAN, "--keep", "MLP 1->Resid End", "--patch", "MLP 0->MLP 1");
    assertThat(both.code()).isEqualTo(Main.USAGE);
    assertThat(both.err()).contains("--patch and --keep both say what is patched");
  }

  @Test
  void patchingAllEdgesIntoTheOutputGivesTheCorruptPromptsAnswer() {
    List<String> arguments =
        new ArrayList<>(List.of("--prompt", CLEAN, "--corrupt", CORRUPT, "--top-k", "1"));
    for (String src : List.of("Resid Start", "A0.0", "A0.1", "MLP 0", "A1.0", "A1.1", "MLP 1")) {
      arguments.addAll(List.of("--patch", src + "->Resid End"));
    }
    String patched = lastLine(run(arguments.toArray(String[]::new)));
    String corrupt = lastLine(run("--prompt", CORRUPT, "--top-k", "1"));
    assertThat(patched).endsWith(corrupt.substring(corrupt.indexOf('\'')).replaceAll("\\s+", " "));
  }

  private static String lastLine(CommandRun run) {
    List<String> lines = run.out().lines().toList();
    return lines.get(lines.size() - 1).replaceAll("\\s+", " ");
  }

  @Test
  void patchesAtOnePosition() {
    CommandRun run = run("--prompt", CLEAN, "--corrupt", CORRUPT, "--patch", "A0.1->A1.0.K@5");
    assertThat(run.err()).isEmpty();
    assertThat(run.code()).isEqualTo(Main.OK);
    CommandRun beyond = run("--prompt", CLEAN, "--patch", "A0.1->A1.0.K@9");
    assertThat(beyond.code()).isEqualTo(Main.FAILURE);
    assertThat(beyond.err()).contains("9").contains("8");
  }

  @Test
  void suggestsTheNearestEdge() {
    CommandRun run = run("--prompt", CLEAN, "--patch", "A0.1->A1.O.K");
    assertThat(run.code()).isEqualTo(Main.FAILURE);
    assertThat(run.err()).contains("A0.1->A1.O.K", "A0.1->A1.0.K");
    assertThat(run.err().lines()).hasSize(1);
  }

  @Test
  void groupedQueries() throws IOException {
    List<Object> grouped =
        List.of("run", "--model", TinyModel.writeLlama(shared.resolve("llama")), "--prompt", CLEAN);
    CommandRun run = with(grouped, "--patch", "A0.1->A1.1.V", "--patch", "A0.1->A1.3.Q");
    assertThat(run.err()).isEmpty();
    assertThat(run.out())
        .contains("4 heads, 2 key/value heads")
        .contains(
            "patched  A0.1->A1.1.V (kv 1: heads 2, 3), A0.1->A1.3.Q" + System.lineSeparator());
    assertThat(with(grouped, "--patch", "A0.1->A1.1.V@5", "--tokens").out())
        .contains("patched  A0.1->A1.1.V@5 ('John'; kv 1: heads 2, 3)");
    CommandRun missing = with(grouped, "--patch", "A0.1->A1.3.V");
    assertThat(missing.code()).isEqualTo(Main.FAILURE);
    assertThat(missing.err())
        .contains("there are 2 key/value heads", "did you mean 'A0.1->A1.1.V' (kv 1: heads 2, 3)?");
    CommandRun ungrouped = with(grouped, "--ungroup", "--patch", "A0.1->A1.3.V");
    assertThat(ungrouped.err()).isEmpty();
    assertThat(ungrouped.out()).contains("patched  A0.1->A1.3.V" + System.lineSeparator());
    CommandRun nothing = run("--prompt", CLEAN, "--ungroup");
    assertThat(nothing.code()).isEqualTo(Main.USAGE);
    assertThat(nothing.err()).contains("each of the model's 2 query heads").hasLineCount(1);
  }

  private static CommandRun with(List<Object> arguments, String... more) {
    List<Object> all = new ArrayList<>(arguments);
    all.addAll(List.of(more));
    return CommandRun.of(all.toArray());
  }

  @Test
  void saysWhatIsWrong() {
    CommandRun lengths =
        run("--prompt", CLEAN, "--corrupt", "Mary and", "--patch", "MLP 0->Resid End");
    assertThat(lengths.code()).isEqualTo(Main.FAILURE);
    assertThat(lengths.err()).contains("9", "2");
    assertThat(run("--corrupt", CORRUPT).err()).contains("--prompt=TEXT", "run --help");
    assertThat(run("--prompt", CLEAN, "--corrupt", CORRUPT).err()).contains("--patch");
    assertThat(run("--prompt", CLEAN, "--top-k", "0").code()).isEqualTo(Main.USAGE);
  }

  @Test
  void tokensStandBesidePositions() {
    CommandRun run =
        run("--prompt", CLEAN, "--corrupt", CORRUPT, "--patch", "A0.1->A1.0.K@5", "--tokens");
    assertThat(run.err()).isEmpty();
    assertThat(run.out())
        .contains("position  token   corrupt", "       0  'Mary'\n", "       5  'John'  'Mary'\n")
        .contains("A0.1->A1.0.K@5 ('John')");
    assertThat(run("--prompt", CLEAN).out()).doesNotContain("position");
  }

  @Test
  void saysWhatIsProbablyNotMeant() {
    assertThat(run("--prompt", "Mary saw John").err())
        .isEqualTo(
            "warning: --prompt: not in the vocabulary, the model reads <|unk|>: \"saw\""
                + System.lineSeparator());
    assertThat(run("--prompt", "<|endoftext|>Mary").err())
        .contains("--prompt spells the special token '<|endoftext|>'");
    assertThat(run("--prompt", CLEAN, "--corrupt", CLEAN, "--patch", "MLP 0->Resid End").err())
        .contains("--corrupt has the tokens of --prompt");
    CommandRun lengthy = run("--prompt", "and ".repeat(17));
    assertThat(lengthy.code()).isEqualTo(Main.FAILURE);
    assertThat(lengthy.err()).contains("--prompt has 17 tokens, the model takes 1 to 16");
  }
}
