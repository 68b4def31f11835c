package org.autocircuit.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.autocircuit.data.PromptTokens;
import org.autocircuit.internal.Figures;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.tokenizer.Tokenizer;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Options of commands that take one prompt, and one that patched edges are patched with. */
final class PromptAndCorrupt {

  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(
      names = {"-p", "--prompt"},
      paramLabel = "TEXT",
      required = true,
      description = "The prompt.")
  private String prompt;

  @Option(
      names = {"-c", "--corrupt"},
      paramLabel = "TEXT",
      description =
          "Where patched edges take their activations from; as many tokens as the prompt.")
  private String corrupt;

  boolean hasCorrupt() {
    return corrupt != null;
  }

  /** The prompt as it is printed. */
  String visiblePrompt() {
    return VisibleText.of(prompt);
  }

  /** The corrupt prompt as it is printed; there is one. */
  String visibleCorrupt() {
    return VisibleText.of(corrupt);
  }

  /** Adds the prompts as they were typed. */
  void addTo(ObjectNode json) {
    json.put("prompt", prompt);
    if (corrupt != null) {
      json.put("corrupt", corrupt);
    }
  }

  /** Refuses a corrupt prompt that no edge reads. */
  void check(PatchedEdges patched) {
    if (corrupt != null && !patched.isGiven()) {
      throw new ParameterException(
          spec.commandLine(),
          "--corrupt has no effect without edges; name some with --patch, or a circuit's with"
              + " --scores");
    }
  }

  /**
   * The tokens of the prompt, and of the corrupt one if there is one. Prints what is probably not
   * meant in them.
   *
   * @param longest the most tokens that there may be
   */
  long[][] tokens(Tokenizer tokenizer, int longest) {
    boolean bos = tokenizer.prependsBos();
    long[] clean = tokenizer.encode(prompt, bos);
    long[] other = corrupt == null ? clean : tokenizer.encode(corrupt, bos);
    if (clean.length != other.length) {
      throw new IllegalArgumentException(
          "--corrupt has %s, --prompt has %s: %s; --prompt: %s"
              .formatted(
                  Figures.count(other.length, "token"),
                  clean.length,
                  tokenizer.show(other),
                  tokenizer.show(clean)));
    }
    if (clean.length == 0 || clean.length > longest) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "--prompt has %s, the model takes 1 to %,d",
              Figures.count(clean.length, "token"),
              longest));
    }
    List<String> warnings =
        new ArrayList<>(PromptTokens.warnings(tokenizer, prompt, "--prompt", bos).values());
    if (corrupt != null) {
      warnings.addAll(PromptTokens.warnings(tokenizer, corrupt, "--corrupt", bos).values());
      if (Arrays.equals(clean, other)) {
        warnings.add("--corrupt has the tokens of --prompt: patching changes nothing");
      }
    }
    Failures.warn(spec.commandLine().getErr(), warnings);
    return corrupt == null ? new long[][] {clean} : new long[][] {clean, other};
  }
}
