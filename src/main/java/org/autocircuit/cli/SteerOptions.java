package org.autocircuit.cli;

import java.util.ArrayList;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptTokens;
import org.autocircuit.generate.Steering;
import org.autocircuit.internal.Figures;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.tokenizer.Tokenizer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Options that steer an answer: activation addition (Turner et al. 2023, arXiv 2308.10248). */
final class SteerOptions {

  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(
      names = "--steer",
      paramLabel = "HOOK",
      description =
          "Adds a vector at this hook point, such as blocks.2.hook_resid_pre, to every token: what"
              + " is there at the last token of --toward less what is there at that of --away.")
  private String hook;

  @Option(
      names = "--toward",
      paramLabel = "TEXT",
      description = "A text that the answer shall be more like.")
  private String toward;

  @Option(names = "--away", paramLabel = "TEXT", description = "A text that it shall be less like.")
  private String away;

  @Option(names = "--factor", paramLabel = "F", description = "Multiplies the vector. Default: 1.")
  private Double factor;

  boolean isGiven() {
    return hook != null;
  }

  void check() {
    if ((hook == null) != (toward == null) || (hook == null) != (away == null)) {
      throw new ParameterException(
          spec.commandLine(), "--steer HOOK, --toward TEXT and --away TEXT belong together");
    }
    if (hook == null && factor != null) {
      throw new ParameterException(spec.commandLine(), "--factor has no effect without --steer");
    }
    if (factor != null && !Double.isFinite(factor)) {
      throw new ParameterException(
          spec.commandLine(), "--factor must be a finite number, got " + factor);
    }
  }

  Steering steering(PatchableModel model, Tokenizer tokenizer) {
    float[] vector = at(model, tokenizer, toward);
    float[] less = at(model, tokenizer, away);
    for (int i = 0; i < vector.length; i++) {
      vector[i] -= less[i];
    }
    return Steering.of(hook, vector).times(factor == null ? 1 : factor);
  }

  /** Warns of texts that are probably not meant: only their last tokens count. */
  List<String> warnings(Tokenizer tokenizer) {
    List<String> lines = new ArrayList<>();
    addWarnings(lines, tokenizer, "--toward", toward);
    addWarnings(lines, tokenizer, "--away", away);
    return lines;
  }

  private static void addWarnings(
      List<String> lines, Tokenizer tokenizer, String option, String text) {
    boolean bos = tokenizer.prependsBos();
    lines.addAll(PromptTokens.warnings(tokenizer, text, option, bos).values());
    String word = text.strip();
    long[] tokens = tokenizer.encode(text, /* prependBos= */ false);
    if (tokens.length > 1 && !word.isEmpty() && word.chars().noneMatch(Character::isWhitespace)) {
      lines.add(
          "%s: '%s' is %s, %s; only what is at the last one counts"
              .formatted(
                  option, word, Figures.count(tokens.length, "token"), tokenizer.show(tokens)));
    }
  }

  /** The value at the last token of a text. */
  private float[] at(PatchableModel model, Tokenizer tokenizer, String text) {
    long[][] tokens = {tokenizer.encode(text, tokenizer.prependsBos())};
    try (PointerScope scope = new PointerScope()) {
      Tensor value =
          model.forward(ForwardRequest.of(tokens).withReads(hook).withGrad(false)).read(hook);
      return TensorArrays.floats(value.select(1, -1));
    }
  }
}
