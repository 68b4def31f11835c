package org.autocircuit.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.eval.Logits;
import org.autocircuit.graph.DestNode;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Figures;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.StrictJson;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.report.TextTable;
import org.autocircuit.text.NextToken;
import org.autocircuit.text.NextTokens;
import org.autocircuit.tokenizer.Tokenizer;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Runs one prompt, with and without patched edges. */
@Command(
    name = "run",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    description = {
      "Runs the model on a prompt and prints the most probable next tokens, before and after edges"
          + " are patched.",
      "A patched edge carries what its source puts out on the corrupt prompt; without a corrupt"
          + " prompt it carries zeros. With --scores or --keep all edges are patched but those of a"
          + " circuit."
    },
    footerHeading = "%nExamples:%n",
    footer = {
      "  autocircuit run --prompt \"When Mary and John went to the store, John gave a drink to\"",
      "  autocircuit run --prompt \"...\" --corrupt \"...\" --patch \"A3.0->Resid End\"",
      "  autocircuit run --prompt \"...\" --patch \"A0.1->A1.2.Q@9\" --patch \"MLP 0->A1.2.K\"",
      "  autocircuit run --prompt \"...\" --corrupt \"...\" --scores scores.json --size 150",
      "  autocircuit run --prompt \"...\" --patch \"MLP 0->A1.2.K\" --json next.json",
      "",
      "'autocircuit graph --list' prints the names of all edges. NAME@N patches an edge at token",
      "position N only, counted from 0."
    })
final class RunPrompt implements Callable<Integer> {

  @Spec private CommandSpec spec;

  @Mixin private ModelOptions modelOptions;

  @Mixin private GraphOptions graphOptions;

  @Mixin private PromptAndCorrupt prompts;

  @Mixin private PatchedEdges patched;

  @Option(
      names = {"-k", "--top-k"},
      paramLabel = "N",
      defaultValue = "5",
      description = "Number of tokens to print. Default: ${DEFAULT-VALUE}.")
  private int topK;

  @Option(names = "--tokens", description = "Print the tokens of the prompts by position, too.")
  private boolean showTokens;

  @Option(
      names = "--json",
      paramLabel = "FILE",
      description = "Where the next tokens go, for programs.")
  private Path json;

  @Mixin private Outputs outputs;

  @Override
  public Integer call() throws IOException {
    if (topK < 1) {
      throw new ParameterException(spec.commandLine(), "--top-k must be at least 1, got " + topK);
    }
    patched.check();
    prompts.check(patched);
    graphOptions.check();
    patched.keep(outputs);
    if (json != null) {
      outputs.add("--json", json);
    }
    PrintWriter out = spec.commandLine().getOut();
    try (PhaseProgress waiting = PhaseProgress.waiting("loading", spec.commandLine().getErr());
        ModelFolder folder = ModelFolder.open(modelOptions)) {
      Tokenizer tokenizer = folder.tokenizer();
      long[][] tokens = prompts.tokens(tokenizer, folder.longest());
      PatchableModelOptions options = graphOptions.modelOptions(folder.config());
      if (patched.perPosition()) {
        options = options.withSeqLen(tokens[0].length);
      }
      EdgeSet edges = patched.of(options.graph(folder.config()));
      Failures.warn(spec.commandLine().getErr(), tooMany(folder.config().dVocab()));
      try (PatchableModel model = folder.patchable(options)) {
        waiting.close();
        print(out, folder, model, tokens, edges);
      }
    }
    out.flush();
    return Main.OK;
  }

  private List<String> tooMany(int vocabulary) {
    return topK <= vocabulary
        ? List.of()
        : List.of(
            String.format(
                Locale.ROOT, "--top-k %,d: the vocabulary has only %,d tokens", topK, vocabulary));
  }

  /** Says what is patched. */
  private String describe(ModelGraph graph, Tokenizer tokenizer, long[] tokens) {
    return patched.isCircuit()
        ? patched.describeCircuit(graph)
        : patched.names().stream()
            .map(name -> explained(name, graph, tokenizer, tokens))
            .collect(Collectors.joining(", "));
  }

  private static TextTable tokenTable(Tokenizer tokenizer, long[][] tokens) {
    TextTable table = new TextTable().indent(2).right("position").left("token");
    if (tokens.length > 1) {
      table.left("corrupt");
    }
    for (int i = 0; i < tokens[0].length; i++) {
      String token = tokenizer.show(tokens[0][i]);
      if (tokens.length > 1) {
        String other = tokens[0][i] == tokens[1][i] ? "" : tokenizer.show(tokens[1][i]);
        table.row(String.valueOf(i), token, other);
      } else {
        table.row(String.valueOf(i), token);
      }
    }
    return table;
  }

  /** An edge's name; where it has a position, with the token there; and who reads shared keys. */
  private static String explained(
      String name, ModelGraph graph, Tokenizer tokenizer, long[] tokens) {
    List<String> notes = new ArrayList<>();
    if (PatchedEdges.hasPosition(name)) {
      int position = Integer.parseInt(name.substring(name.lastIndexOf('@') + 1));
      notes.add(tokenizer.show(tokens[position]));
    }
    DestNode dest = graph.edge(graph.indices(name)[0]).dest();
    if (!dest.queryHeads().isEmpty()) {
      notes.add(dest.readers());
    }
    return notes.isEmpty() ? name : name + " (" + String.join("; ", notes) + ")";
  }

  private void print(
      PrintWriter out, ModelFolder folder, PatchableModel model, long[][] tokens, EdgeSet edges) {
    long[][] clean = {tokens[0]};
    NextTokens before = next(folder.tokenizer(), model, clean, PatchContext.NONE);
    out.println("model    " + VisibleText.of(folder.describe()));
    out.println(
        "prompt   %s  (%s)"
            .formatted(prompts.visiblePrompt(), Figures.count(tokens[0].length, "token")));
    if (showTokens) {
      out.print(tokenTable(folder.tokenizer(), tokens));
    }
    if (edges.size() == 0 && !patched.isCircuit()) {
      out.println();
      out.print(table(before, null));
      write(out, folder, tokens[0], before, null);
      return;
    }
    out.println(
        "corrupt  "
            + (prompts.hasCorrupt()
                ? prompts.visibleCorrupt()
                : "(none: patched edges carry zeros)"));
    out.println("patched  " + describe(model.graph(), folder.tokenizer(), tokens[0]));
    out.println();
    BatchAblation ablation = prompts.hasCorrupt() ? BatchAblation.RESAMPLE : BatchAblation.ZERO;
    long[][] other = {tokens[tokens.length - 1]};
    try (SourceActivations activations = model.sourceAblations(other, ablation)) {
      PatchContext context = PatchContext.of(activations, Masks.ofEdges(edges));
      NextTokens after = next(folder.tokenizer(), model, clean, context);
      out.print(table(before, after));
      write(out, folder, tokens[0], before, after);
    }
  }

  /** Writes the file that was asked for, if one was. */
  private void write(
      PrintWriter out, ModelFolder folder, long[] tokens, NextTokens before, NextTokens after) {
    if (json == null) {
      return;
    }
    ObjectNode root = StrictJson.MAPPER.createObjectNode();
    root.put("format", "autocircuit-run").put("version", 1);
    Discovery.addRun(root, RunFacts.of(spec));
    root.put("model", folder.describe());
    prompts.addTo(root);
    Arrays.stream(tokens).forEach(root.putArray("tokens")::add);
    patched.addTo(root);
    add(root.putArray("before"), before);
    if (after != null) {
      add(root.putArray("after"), after);
    }
    JsonFiles.write(json, root);
    outputs.wrote(json);
    out.println();
    out.println(Wrap.fact("json", json.toString()));
  }

  private void add(ArrayNode tokens, NextTokens next) {
    for (NextToken token : next.top(topK)) {
      tokens
          .addObject()
          .put("id", token.id())
          .put("text", token.text())
          .put("probability", token.probability())
          .put("logit", token.logit());
    }
  }

  private static NextTokens next(
      Tokenizer tokenizer, PatchableModel model, long[][] tokens, PatchContext context) {
    Logits logits = Logits.of(model.logits(tokens, context));
    if (!logits.isFinite(0)) {
      throw model.precision().notFinite("logits");
    }
    return NextTokens.of(logits, 0, tokenizer);
  }

  /** The next tokens before patching, and beside them those after it. */
  private TextTable table(NextTokens before, NextTokens after) {
    TextTable table = new TextTable().indent(2).right("#");
    if (after == null) {
      table.left("next token").right("probability").right("logit");
    } else {
      table.left("before").right("probability").right("logit");
      table.left("   after").right("probability").right("logit");
    }
    List<NextToken> first = before.top(topK);
    List<NextToken> second = after == null ? List.of() : after.top(topK);
    for (int rank = 0; rank < first.size(); rank++) {
      List<String> cells = new ArrayList<>(List.of(String.valueOf(rank + 1)));
      add(cells, "", first.get(rank));
      if (after != null) {
        add(cells, "   ", second.get(rank));
      }
      table.row(cells.toArray(String[]::new));
    }
    return table;
  }

  private static void add(List<String> cells, String indent, NextToken token) {
    cells.add(indent + token.spelling());
    cells.add(Figures.percent(token.probability(), 2));
    cells.add(Figures.fixed(token.logit(), 3));
  }
}
