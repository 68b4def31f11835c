package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
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

  @TempDir private Path folder;

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

  @Test
  void bothAnswersEndBeforeTheTextThatStopsThem() {
    String answer = answerOf(generate("--prompt", CLEAN, "-n", "4"), CLEAN).strip();
    assertThat(answer).contains(" ");
    String last = answer.substring(answer.lastIndexOf(' ') + 1);
    CommandRun run =
        generate(
            intoTheEnd(
                "--prompt", CLEAN, "--corrupt", CORRUPT, "--both", "--stop", last, "-n", "4"));
    assertThat(run.code()).as(run.err()).isEqualTo(Main.OK);
    assertThat(run.out().lines().filter(line -> line.startsWith("plain    ")).findFirst())
        .hasValueSatisfying(line -> assertThat(line).doesNotContain(last));
  }

  @Test
  void wordsThatSteerAndAreNotWhatTheySeemAreWarnedOf() {
    String hook = "blocks.1.hook_resid_pre";
    CommandRun unknown =
        generate("--prompt", CLEAN, "--steer", hook, "--toward", "Zanzibar", "--away", "Mary");
    assertThat(unknown.code()).as(unknown.err()).isEqualTo(Main.OK);
    assertThat(unknown.err()).contains("warning: --toward", "Zanzibar");
    CommandRun several =
        generate("--prompt", CLEAN, "--steer", hook, "--toward", "Mary", "--away", "Mary,");
    assertThat(several.err())
        .contains("warning: --away: 'Mary,' is 2 tokens, ", "only what is at the last one counts");
    CommandRun fine =
        generate(
            "--prompt", CLEAN, "--steer", hook, "--toward", "Mary", "--away", "John", "-n", "2");
    assertThat(fine.err()).isEmpty();
  }

  @Test
  void aClosedPipeEndsQuietly() throws Exception {
    Ended ended = inAShell("\"$@\" | head -c 1 >&2; echo \" ${PIPESTATUS[0]}\"", -1);
    assertThat(ended.output().strip()).isEqualTo(CLEAN.charAt(0) + " " + Main.CLOSED);
  }

  @Test
  void ctrlCEndsQuietly() throws Exception {
    Ended ended = inAShell("exec \"$@\"", CLEAN.length() + 20);
    assertThat(ended.code()).as(ended.output()).isEqualTo(Main.STOPPED);
    assertThat(ended.output()).startsWith(CLEAN).endsWith("autocircuit: stopped before the end\n");
    assertThat(ended.output()).doesNotContain("Exception", "no file");
  }

  /** Says how a process ended, and what it printed to both of its streams. */
  private record Ended(int code, String output) {}

  /** Generates a long answer in a process of its own, which SIGINT ends after some characters. */
  private Ended inAShell(String script, int characters) throws Exception {
    Path log = folder.resolve("log");
    List<String> words = new ArrayList<>(List.of("env", "--default-signal=INT"));
    words.addAll(List.of("bash", "-c", script, "bash"));
    words.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    words.addAll(List.of("-XX:-UsePerfData", "-Dorg.bytedeco.javacpp.maxPhysicalBytes=0"));
    words.addAll(List.of("-cp", System.getProperty("java.class.path"), Main.class.getName()));
    Path patient = TinyModel.writeLlama(folder.resolve("patient"), 200_000);
    words.addAll(List.of("generate", "--model", patient.toString(), "--prompt", CLEAN));
    words.addAll(List.of("-n", "199000", "--temperature", "5"));
    Process process =
        new ProcessBuilder(words).redirectErrorStream(true).redirectOutput(log.toFile()).start();
    try {
      long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(120);
      while (characters >= 0
          && process.isAlive()
          && Files.size(log) < characters
          && System.nanoTime() < end) {
        Thread.sleep(1);
      }
      if (characters >= 0) {
        new ProcessBuilder("kill", "-INT", String.valueOf(process.pid())).start().waitFor();
      }
      assertThat(process.waitFor(120, TimeUnit.SECONDS)).isTrue();
      return new Ended(process.exitValue(), Files.readString(log));
    } finally {
      process.destroyForcibly();
    }
  }
}
