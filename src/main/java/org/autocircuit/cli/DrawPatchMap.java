package org.autocircuit.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.eval.ActivationPatching;
import org.autocircuit.eval.ActivationSite;
import org.autocircuit.eval.PatchDirection;
import org.autocircuit.eval.PatchMap;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.report.CircuitPicture;
import org.autocircuit.report.HeatMap;
import org.autocircuit.report.PatchMapPage;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.Spec;

/** Draws which activations carry what tells two prompts apart. */
@Command(
    name = "patch-map",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    sortOptions = false,
    description = {
      "Activation patching: puts each activation of one prompt, layer by layer and position by"
          + " position, into the run on the other, and prints and draws how much of the logit"
          + " difference between the two it moves.",
      "Without options it does so for the model and the prompts that come with the program."
    },
    footerHeading = "%nExamples:%n",
    footer = {
      "  autocircuit patch-map",
      "  autocircuit patch-map --page map.html",
      "  autocircuit patch-map --of heads --together --picture heads.svg",
      "  autocircuit patch-map --of mlp --direction noising --json map.json",
      "  autocircuit patch-map --model gpt2 --prompts pairs.json --limit 20",
      "",
      "Prompts are those of 'autocircuit discover --help'; all must be equally long, unless",
      "all positions are patched together."
    },
    exitCodeListHeading = "%nExit codes:%n",
    exitCodeList = {
      " 0:all went well",
      " 1:the model or the prompts could not be used, or the computation failed",
      " 2:wrong options",
      "130:stopped before the end, for instance by Ctrl-C"
    })
final class DrawPatchMap implements Callable<Integer> {

  /** The activations by their short names. */
  enum Site {
    RESID(ActivationSite.RESIDUAL),
    ATTN(ActivationSite.ATTENTION),
    MLP(ActivationSite.MLP),
    HEADS(ActivationSite.HEADS);

    private final ActivationSite site;

    Site(ActivationSite site) {
      this.site = site;
    }
  }

  @Spec private CommandSpec spec;

  @Mixin private ModelOptions modelOptions;

  @Mixin private PairOptions pairOptions;

  @Option(
      names = "--of",
      paramLabel = "WHAT",
      defaultValue = "RESID",
      description =
          "What is put in: resid (the residual stream before each block), attn (attention outputs),"
              + " mlp (MLP outputs) or heads (outputs of single heads). Default: resid.")
  private Site of;

  @Option(
      names = "--direction",
      paramLabel = "WHICH",
      defaultValue = "DENOISING",
      description =
          "denoising: clean activations are put into corrupt prompts, and recover the answer;"
              + " noising: corrupt ones into clean prompts, and break it. Default: denoising.")
  private PatchDirection direction;

  @Option(
      names = "--together",
      description = "Patch all positions together; heads are then shown layer by head.")
  private boolean together;

  @Option(
      names = "--picture",
      paramLabel = "FILE",
      defaultValue = "autocircuit-patch-map.svg",
      description = "Where the heat map goes, an .svg image. Default: ${DEFAULT-VALUE}.")
  private Path picture;

  @Option(names = "--no-picture", description = "Draw no picture.")
  private boolean noPicture;

  @Option(names = "--json", paramLabel = "FILE", description = "Write the numbers as JSON, too.")
  private Path json;

  @Option(
      names = "--page",
      paramLabel = "FILE",
      description =
          "Where a page goes on which maps can be explored in a browser: those of everything that"
              + " can be put in, unless --of says what, and in both directions, unless --direction"
              + " says which. It needs no network.")
  private Path page;

  @Mixin private Outputs outputs;

  private PrintWriter out;

  @Override
  public Integer call() throws IOException {
    checkOptions();
    out = spec.commandLine().getOut();
    PrintWriter err = spec.commandLine().getErr();
    try (PhaseProgress loading = PhaseProgress.waiting("loading the model", err);
        ModelFolder folder = ModelFolder.open(modelOptions)) {
      Prompts prompts = pairOptions.read(folder.tokenizer(), folder.longest());
      Failures.warn(err, prompts.warnings());
      if (!together) {
        prompts.tokens().oneLength(); // names those that differ
      }
      try (PatchableModel model = folder.patchable(PatchableModelOptions.defaults())) {
        loading.close();
        fact("model", folder.describe());
        fact("prompts", prompts.describeAll());
        out.flush();
        PatchMap map = map(model, prompts, of, direction, err);
        Failures.warn(
            err, Shares.warnings("clean and corrupt prompts", map.difference(), "little"));
        List<String> tokens = prompts.positions(folder.tokenizer());
        show(PatchMapTable.of(map, tokens), map, folder.describe(), prompts);
        if (page != null) {
          writePage(folder, model, prompts, map, err);
        }
      }
    }
    out.flush();
    return Main.OK;
  }

  private PatchMap map(
      PatchableModel model, Prompts prompts, Site put, PatchDirection way, PrintWriter err) {
    ActivationPatching patching =
        ActivationPatching.of(put.site).withDirection(way).withBatchSize(pairOptions.batchSize());
    try (PhaseProgress progress = PhaseProgress.of("patching", err)) {
      return (together ? patching.withAllPositionsTogether() : patching)
          .map(model, prompts.finding(), progress);
    }
  }

  /** Measures the other maps that nobody excluded, and writes them all. */
  private void writePage(
      ModelFolder folder, PatchableModel model, Prompts prompts, PatchMap first, PrintWriter err)
      throws IOException {
    ParseResult typed = spec.commandLine().getParseResult();
    List<Site> sites =
        typed.hasMatchedOption("--of") || !(model.config() instanceof TransformerConfig config)
            ? List.of(of)
            : Stream.of(Site.values()).filter(s -> s != Site.MLP || config.hasMlp()).toList();
    List<PatchDirection> directions =
        typed.hasMatchedOption("--direction")
            ? List.of(direction)
            : List.of(PatchDirection.DENOISING, PatchDirection.NOISING);
    PatchMapPage.Builder explored =
        PatchMapPage.builder("Activation patching of " + folder.name())
            .fact("model", folder.describe())
            .fact("prompts", prompts.describeAll())
            .prompts(new ShownPrompts(folder.tokenizer()).of(prompts.finding()));
    RunFacts.ofRun(spec).forEach(explored::fact);
    RunFacts.hashes(folder.path()).forEach(explored::fact);
    for (Site put : sites) {
      for (PatchDirection way : directions) {
        boolean known = put == of && way == direction;
        explored.map(known ? first : map(model, prompts, put, way, err));
      }
    }
    explored.build().write(page);
    outputs.wrote(page);
    out.println();
    fact("page", page + " (to open in a browser)");
  }

  private void show(PatchMapTable table, PatchMap map, String model, Prompts prompts)
      throws IOException {
    fact("map", map.conditions());
    fact(
        "means",
        String.format(Locale.ROOT, "clean %.3f, corrupt %.3f", map.clean(), map.corrupt()));
    if (json != null) {
      writeJson(map, table, model, prompts);
      outputs.wrote(json);
      fact("numbers", json.toString());
    }
    if (!noPicture) {
      HeatMap.of(
              "Activation patching: " + map.site().words(),
              table.rows(),
              table.columns(),
              table.shares())
          .withNotes(
              List.of(
                  model,
                  prompts.describeAll(),
                  map.conditions(),
                  String.format(
                      Locale.ROOT,
                      "%s; clean %.3f, corrupt %.3f",
                      table.meaning(),
                      map.clean(),
                      map.corrupt())))
          .write(picture);
      outputs.wrote(picture);
      fact("picture", picture.toString());
    }
    out.println();
    out.println(Wrap.lines("Per cent: " + table.meaning() + ".", 80));
    out.println();
    out.print(table);
  }

  private void writeJson(PatchMap map, PatchMapTable table, String model, Prompts prompts) {
    ObjectNode root = JsonNodeFactory.instance.objectNode();
    root.put("format", "autocircuit-patch-map");
    root.put("version", 1);
    root.put("model", model);
    Discovery.addRun(root, RunFacts.of(spec));
    root.put("prompt_source", prompts.name());
    root.put("prompts", map.prompts());
    root.put("metric", map.metric());
    root.put("of", map.site().name().toLowerCase(Locale.ROOT));
    root.put("direction", map.direction().name().toLowerCase(Locale.ROOT));
    root.put("each_position", map.eachPosition());
    root.put("clean", map.clean());
    root.put("corrupt", map.corrupt());
    root.put("meaning", table.meaning());
    map.rows().forEach(root.putArray("rows")::add);
    if (map.eachPosition()) {
      table.columns().forEach(root.putArray("columns")::add);
    }
    ArrayNode shares = root.putArray("shares");
    ArrayNode errors = root.putArray("standard_errors");
    for (int row = 0; row < map.rows().size(); row++) {
      ArrayNode ofRow = shares.addArray();
      ArrayNode errorsOfRow = errors.addArray();
      for (int column = 0; column < map.columns(); column++) {
        ofRow.add(map.share(row, column));
        double error = map.standardError(row, column);
        if (Double.isNaN(error)) {
          errorsOfRow.addNull();
        } else {
          errorsOfRow.add(error);
        }
      }
    }
    JsonFiles.write(json, root);
  }

  private void checkOptions() {
    pairOptions.check(spec, modelOptions);
    pairOptions.file().ifPresent(file -> outputs.keep("--prompts", file));
    if (json != null) {
      outputs.add("--json", json);
    }
    if (page != null) {
      outputs.add("--page", page);
    }
    if (noPicture) {
      if (spec.commandLine().getParseResult().hasMatchedOption("--picture")) {
        throw new ParameterException(
            spec.commandLine(), "--picture says where to draw what --no-picture leaves out");
      }
      return;
    }
    try {
      CircuitPicture.requireSvg(picture);
    } catch (IllegalArgumentException e) {
      throw new ParameterException(
          spec.commandLine(), "--picture: %s; --page writes a page".formatted(e.getMessage()), e);
    }
    outputs.add("--picture", picture);
  }

  private void fact(String name, String text) {
    out.println(Wrap.fact(name, text));
  }
}
