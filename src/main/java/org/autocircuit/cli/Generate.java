package org.autocircuit.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.stream.Collectors;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.generate.Donor;
import org.autocircuit.generate.FinishReason;
import org.autocircuit.generate.GeneratedToken;
import org.autocircuit.generate.Generation;
import org.autocircuit.generate.GenerationPatch;
import org.autocircuit.generate.GenerationRequest;
import org.autocircuit.generate.Generator;
import org.autocircuit.generate.Sampling;
import org.autocircuit.generate.Span;
import org.autocircuit.generate.Stop;
import org.autocircuit.generate.TextStream;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.Figures;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.patch.Masks;
import org.autocircuit.tokenizer.Tokenizer;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Generates an answer, by the plain model or a patched one, or by both side by side. */
@Command(
    name = "generate",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    description = {
      "Continues a prompt token by token, and prints the text as it comes.",
      "Edges are patched as by 'autocircuit run', at every token: with what their sources put out"
          + " on the corrupt prompt, which goes on with the tokens of the answer, or with zeros"
          + " where there is no corrupt prompt. --steer adds a vector to the residual stream."
    },
    footerHeading = "%nExamples:%n",
    footer = {
      "  autocircuit generate --prompt \"When Mary and John went to the store, John gave a\"",
      "  autocircuit generate --prompt \"...\" --temperature 0.8 --top-p 0.95 --seed 7",
      "  autocircuit generate --prompt \"...\" --corrupt \"...\" --patch \"A3.0->Resid End\" --both",
      "  autocircuit generate --prompt \"...\" --corrupt \"...\" --scores scores.json --size 150",
      "  autocircuit generate --prompt \"...\" --steer blocks.2.hook_resid_pre --toward \"...\""
          + " --away \"...\""
    })
final class Generate implements Callable<Integer> {

  @Spec private CommandSpec spec;

  @Mixin private ModelOptions modelOptions;

  @Mixin private GraphOptions graphOptions;

  @Mixin private PromptAndCorrupt prompts;

  @Mixin private PatchedEdges patched;

  @Mixin private SteerOptions steerOptions;

  @Option(
      names = "--donor",
      paramLabel = "WHICH",
      description =
          "How the corrupt prompt goes on: ${COMPLETION-CANDIDATES}. FOLLOWS takes over the tokens"
              + " of the answer, FREE generates its own. Default: FOLLOWS.")
  private Donor donor;

  private enum Where {
    ALL,
    PROMPT,
    ANSWER;

    Span span() {
      return switch (this) {
        case ALL -> Span.ALL;
        case PROMPT -> Span.PROMPT;
        case ANSWER -> Span.ANSWER;
      };
    }
  }

  @Option(
      names = "--at",
      paramLabel = "WHERE",
      defaultValue = "ALL",
      description =
          "Tokens at which edges are patched: ${COMPLETION-CANDIDATES}. Default: ${DEFAULT-VALUE}.")
  private Where where;

  @Option(
      names = {"-n", "--max-tokens"},
      paramLabel = "N",
      defaultValue = "40",
      description = "The most tokens of the answer. Default: ${DEFAULT-VALUE}.")
  private int maxTokens;

  @Option(
      names = "--stop",
      paramLabel = "TEXT",
      description = "A text at which the answer ends. Repeatable.")
  private List<String> stop = new ArrayList<>();

  @Option(
      names = "--temperature",
      paramLabel = "T",
      defaultValue = "0",
      description =
          "Tokens are drawn at this temperature; 0: always the most probable one. Default:"
              + " ${DEFAULT-VALUE}.")
  private double temperature;

  @Option(
      names = "--top-k",
      paramLabel = "N",
      description = "Draw from so many most probable tokens; 0: from all. Default: 0.")
  private Integer topK;

  @Option(
      names = "--top-p",
      paramLabel = "P",
      description =
          "Draw from the fewest tokens that have this share of the probability. Default: 1.")
  private Double topP;

  @Option(
      names = "--seed",
      paramLabel = "N",
      description = "The same seed draws the same tokens. Default: 0.")
  private Long seed;

  @Option(
      names = "--both",
      description =
          "Generate with the plain model, too, and print both answers side by side, a token a"
              + " line.")
  private boolean both;

  @Override
  public Integer call() throws IOException {
    check();
    graphOptions.check();
    PrintWriter out = spec.commandLine().getOut();
    try (PhaseProgress loading =
            PhaseProgress.waiting("loading the model", spec.commandLine().getErr());
        ModelFolder folder = ModelFolder.open(modelOptions)) {
      Tokenizer tokenizer = folder.tokenizer();
      long[][] tokens = prompts.tokens(tokenizer, folder.longest() - 1);
      PatchableModelOptions options = graphOptions.modelOptions(folder.config());
      GenerationPatch patch = patch(tokens, patched.of(options.graph(folder.config())));
      try (PatchableModel model = folder.patchable(options)) {
        loading.close();
        GenerationRequest plain =
            GenerationRequest.of(tokens[0])
                .withSampling(sampling())
                .withStop(Stop.after(maxTokens).atTexts(stop.toArray(String[]::new)));
        GenerationRequest changed = plain.withPatch(patch);
        if (steerOptions.isGiven()) {
          Failures.warn(spec.commandLine().getErr(), steerOptions.warnings(tokenizer));
          changed = changed.withSteering(steerOptions.steering(model, tokenizer));
        }
        try (Generator generator = folder.generator(model).build()) {
          if (both) {
            printBoth(out, generator, tokenizer, tokens[0], plain, changed);
          } else {
            printText(out, generator, tokenizer, tokens[0], changed);
          }
        } catch (CompletionException e) {
          throw e.getCause() instanceof RuntimeException cause ? cause : e;
        }
      }
    }
    out.flush();
    return Main.OK;
  }

  private void check() {
    patched.check();
    if (patched.perPosition()) {
      throw wrongUsage(
          "answers have no fixed number of positions: expected edges without @N and scores that"
              + " are not --per-position; --at says where edges are patched");
    }
    prompts.check(patched);
    if (!patched.isGiven() && where != Where.ALL) {
      throw wrongUsage(
          "--at has no effect without edges; name some with --patch, or a circuit's with --scores");
    }
    if (donor != null && !prompts.hasCorrupt()) {
      throw wrongUsage("--donor says how the corrupt prompt goes on: give one with --corrupt");
    }
    if (both && !patched.isGiven() && !steerOptions.isGiven()) {
      throw wrongUsage(
          "--both compares with the plain model: patch edges with --patch or --scores, or --steer");
    }
    steerOptions.check();
    if (temperature == 0 && (topK != null || topP != null || seed != null)) {
      throw wrongUsage(
          "%s has no effect at --temperature 0, which takes the most probable token always"
              .formatted(topK != null ? "--top-k" : topP != null ? "--top-p" : "--seed"));
    }
    try {
      Stop.after(maxTokens).atTexts(stop.toArray(String[]::new));
      sampling();
    } catch (IllegalArgumentException e) {
      throw wrongUsage(option(e.getMessage()));
    }
  }

  /** A message of the library, which names a value, for an option, which has another name. */
  private static String option(String message) {
    return message
        .replace("maxTokens:", "--max-tokens:")
        .replace("topK:", "--top-k:")
        .replace("topP:", "--top-p:")
        .replace("stop text:", "--stop:")
        .replace("temperature:", "--temperature:");
  }

  private Sampling sampling() {
    return new Sampling(
        temperature, topK == null ? 0 : topK, topP == null ? 1 : topP, seed == null ? 0 : seed);
  }

  private ParameterException wrongUsage(String message) {
    return new ParameterException(spec.commandLine(), message);
  }

  /** The patch that was asked for, if any. */
  private GenerationPatch patch(long[][] tokens, EdgeSet edges) {
    if (!patched.isGiven()) {
      return GenerationPatch.NONE;
    }
    Masks masks = Masks.ofEdges(edges);
    GenerationPatch patch =
        prompts.hasCorrupt()
            ? GenerationPatch.resample(tokens[1], masks, donor == null ? Donor.FOLLOWS : donor)
            : GenerationPatch.zero(masks);
    return patch.at(where.span());
  }

  private void printText(
      PrintWriter out,
      Generator generator,
      Tokenizer tokenizer,
      long[] tokens,
      GenerationRequest request) {
    TextStream text = TextStream.after(tokenizer, tokens, stop);
    boolean begun = false;
    try (Generation generation = generator.submit(request)) {
      for (GeneratedToken token : generation) {
        out.print(begun ? "" : prompts.visiblePrompt());
        begun = true;
        out.print(visible(text.add(token.id())));
        ClosedOutput.check(out);
      }
      out.println((begun ? "" : prompts.visiblePrompt()) + visible(text.end()));
      generation.finishReason().ifPresent(reason -> sayWhy(reason));
    }
  }

  private void printBoth(
      PrintWriter out,
      Generator generator,
      Tokenizer tokenizer,
      long[] prompt,
      GenerationRequest plain,
      GenerationRequest changed) {
    out.println("  %-24s  %s".formatted("plain", patched.isGiven() ? "patched" : "steered"));
    try (Generation left = generator.submit(plain);
        Generation right = generator.submit(changed)) {
      Iterator<GeneratedToken> lefts = left.iterator();
      Iterator<GeneratedToken> rights = right.iterator();
      while (lefts.hasNext() || rights.hasNext()) {
        GeneratedToken a = lefts.hasNext() ? lefts.next() : null;
        GeneratedToken b = rights.hasNext() ? rights.next() : null;
        boolean differs = a != null && b != null && a.id() != b.id();
        out.println(
            "%s %-24s  %s"
                .formatted(differs ? "*" : " ", show(tokenizer, a), show(tokenizer, b))
                .stripTrailing());
        ClosedOutput.check(out);
      }
      out.println();
      out.println("plain    " + answer(tokenizer, prompt, left));
      out.println(
          (patched.isGiven() ? "patched  " : "steered  ") + answer(tokenizer, prompt, right));
    }
  }

  /** Text as a terminal may have it, its lines as they are. */
  private static String visible(String text) {
    return Arrays.stream(text.split("\n", -1))
        .map(VisibleText::of)
        .collect(Collectors.joining("\n"));
  }

  /** The text of an answer, up to the one that stopped it. */
  private String answer(Tokenizer tokenizer, long[] prompt, Generation generation) {
    TextStream text = TextStream.after(tokenizer, prompt, stop);
    StringBuilder answer = new StringBuilder();
    generation.tokens().forEach(token -> answer.append(text.add(token.id())));
    return VisibleText.of(answer.append(text.end()).toString().strip());
  }

  private static String show(Tokenizer tokenizer, GeneratedToken token) {
    return token == null
        ? ""
        : "%-16s %6s"
            .formatted(tokenizer.show(token.id()), Figures.percent(Math.exp(token.logProb()), 1));
  }

  private void sayWhy(FinishReason reason) {
    if (reason == FinishReason.CONTEXT) {
      Failures.warn(
          spec.commandLine().getErr(),
          List.of("the answer ends where prompt and answer fill the model's context"));
    }
  }
}
