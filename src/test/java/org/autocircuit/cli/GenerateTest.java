package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GenerateTest {

  private static final String CLEAN = "Mary and John went, John gave it to";
  private static final String CORRUPT = "Mary and John went, Mary gave it to";

  @TempDir private static Path shared;

  private static Path model;

  @BeforeAll
  static void writeModel() throws IOException {
    model = TinyModel.write(shared.resolve("tiny"));
  }

  private static CommandRun generate(String... more) {
    List<Object> arguments = new ArrayList<>(List.of("generate", "--model", model));
    arguments.addAll(List.of(more));
    return CommandRun.of(arguments.toArray());
  }

  private static String[] intoTheEnd(String... more) {
    List<String> arguments = new ArrayList<>(List.of(more));
    for (String src : List.of("Resid Start", "A0.0", "A0.1", "MLP 0", "A1.0", "A1.1", "MLP 1")) {
      arguments.addAll(List.of("--patch", src + "->Resid End"));
    }
    return arguments.toArray(String[]::new);
  }

  @Test
  void continuesThePromptOfTheEmbeddedModel() {
    String prompt = "When Mary and John went to the store, John gave a drink to";
    CommandRun run = CommandRun.of("generate", "--prompt", prompt, "--max-tokens", 1);
    assertThat(run.err()).isEmpty();
    assertThat(run.code()).isEqualTo(Main.OK);
    try (TextModel example = ExampleModel.open()) {
      String next =
          example.tokenizer().decode(new long[] {example.top(prompt, 1).get(0).id()}, true);
      assertThat(run.out().strip()).isEqualTo(prompt + " " + next.strip());
    }
  }

  @Test
  void theSameSeedDrawsTheSameTokens() {
    String[] drawn = {"--prompt", CLEAN, "--temperature", "2", "--max-tokens", "7", "--seed"};
    String first = drawn(drawn, "1");
    assertThat(drawn(drawn, "1")).isEqualTo(first).startsWith(CLEAN);
    assertThat(List.of(drawn(drawn, "2"), drawn(drawn, "3"))).anyMatch(text -> !text.equals(first));
  }

  private static String drawn(String[] options, String seed) {
    List<String> all = new ArrayList<>(List.of(options));
    all.add(seed);
    CommandRun run = generate(all.toArray(String[]::new));
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    return run.out();
  }

  /** With all edges into the end patched, the answer is the corrupt prompt's. */
  @Test
  void bothAnswersStandSideBySide() {
    CommandRun run =
        generate(
            intoTheEnd(
                "--prompt", CLEAN, "--corrupt", CORRUPT, "--both", "--donor", "FREE", "-n", "4"));
    assertThat(run.err()).isEmpty();
    assertThat(run.code()).isEqualTo(Main.OK);
    String answer = answerOf(generate("--prompt", CORRUPT, "-n", "4"), CORRUPT);
    assertThat(run.out().lines().filter(line -> line.startsWith("patched  ")).findFirst())
        .hasValueSatisfying(line -> assertThat(words(line.substring(9))).isEqualTo(words(answer)));
    String plain = answerOf(generate("--prompt", CLEAN, "-n", "4"), CLEAN);
    assertThat(run.out().lines().filter(line -> line.startsWith("plain    ")).findFirst())
        .hasValueSatisfying(line -> assertThat(words(line.substring(9))).isEqualTo(words(plain)));
  }

  private static String answerOf(CommandRun run, String prompt) {
    return run.out().substring(prompt.length());
  }

  private static String words(String text) {
    return text.strip().replaceAll("\\s+", " ");
  }

  /** The last block's output says who gets the drink: its difference swaps the names. */
  @Test
  void aVectorBetweenTwoPromptsSwapsTheAnswerAndOneOfNothingDoesNot() {
    String mary = "When Mary and John went to the store, John gave a drink to";
    String john = "When Mary and John went to the store, Mary gave a drink to";
    assertThat(steered(mary, mary, mary, "1")).isEqualTo(mary + " Mary.");
    assertThat(steered(mary, john, mary, "2")).isEqualTo(mary + " John.");
  }

  private static String steered(String prompt, String toward, String away, String factor) {
    CommandRun run =
        CommandRun.of(
            "generate",
            "--prompt",
            prompt,
            "--steer",
            "blocks.3.hook_resid_post",
            "--toward",
            toward,
            "--away",
            away,
            "--factor",
            factor);
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    return run.out().strip();
  }

  @Test
  void optionsThatMeanNothingAreRefused() {
    refused("--both compares with the plain model", "--both");
    refused("--corrupt has no effect without edges", "--corrupt", CORRUPT);
    refused("--at has no effect without edges", "--at", "PROMPT");
    refused("--donor says how the corrupt prompt goes on", "--donor", "FREE");
    refused("belong together", "--steer", "blocks.0.hook_resid_pre");
    refused("belong together", "--size", "3");
    refused("no fixed number of positions", "--patch", "MLP 0->Resid End@2");
    refused("--temperature:", "--temperature", "-1");
    refused("--top-p:", "--temperature", "1", "--top-p", "0");
    refused("--top-k has no effect at --temperature 0", "--top-k", "3");
    refused("--seed has no effect at --temperature 0", "--seed", "3");
    refused("--factor has no effect without --steer", "--factor", "3");
    refused("--max-tokens:", "--max-tokens", "0");
    refused("--stop:", "--stop", "");
  }

  private static void refused(String why, String... options) {
    List<String> all = new ArrayList<>(List.of("--prompt", CLEAN));
    all.addAll(List.of(options));
    CommandRun run = generate(all.toArray(String[]::new));
    assertThat(run.code()).as(run.err()).isEqualTo(Main.USAGE);
    assertThat(run.err()).contains(why);
  }

  @Test
  void anUnknownEdgeAndAnUnknownHookSayWhatThereIs() {
    CommandRun edge = generate("--prompt", CLEAN, "--patch", "A0.0->MLP 7");
    assertThat(edge.code()).isNotZero();
    assertThat(edge.err()).contains("A0.0->MLP 7", "did you mean");
    CommandRun hook =
        generate("--prompt", CLEAN, "--steer", "blocks.9.x", "--toward", CLEAN, "--away", CLEAN);
    assertThat(hook.code()).isNotZero();
    assertThat(hook.err()).contains("blocks.9.x");
  }
}
