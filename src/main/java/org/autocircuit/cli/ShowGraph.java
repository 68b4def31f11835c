package org.autocircuit.cli;

import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashSet;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.Callable;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.checkpoint.HuggingFaceConfig;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.DestNode;
import org.autocircuit.graph.Edge;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.SrcNode;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.text.ExampleFolder;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Says how large a model's graph is; needs no weights. */
@Command(
    name = "graph",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    description = {
      "Prints the sizes of a model's graph, and examples of the names of its edges.",
      "Reads config.json, or the metadata of a GGUF file, only, no weights."
    },
    footerHeading = "%nExamples:%n",
    footer = {
      "  autocircuit graph",
      "  autocircuit graph gpt2/config.json --positions 15",
      "  autocircuit graph gpt2 --joint --list | grep \"^A1.0->\""
    })
final class ShowGraph implements Callable<Integer> {

  private static final int EXAMPLES = 6;

  @Spec private CommandSpec spec;

  @Mixin private GraphOptions graphOptions;

  @Parameters(
      arity = "0..1",
      paramLabel = "FOLDER",
      description =
          "A model folder, a config.json alone, or a GGUF file. Without it the model that comes"
              + " with the program.")
  private Path folder;

  @Option(
      names = "--positions",
      paramLabel = "N",
      description = "Count an edge for each of N token positions.")
  private Integer positions;

  @Option(names = "--list", description = "Print nothing but the names of all edges, one a line.")
  private boolean list;

  @Override
  public Integer call() {
    if (positions != null && positions < 1) {
      throw new ParameterException(
          spec.commandLine(), "--positions must be at least 1, got " + positions);
    }
    graphOptions.check();
    HuggingFaceConfig config = config();
    int longest = config.transformer().nCtx();
    if (positions != null && positions > longest) {
      throw new ParameterException(
          spec.commandLine(),
          String.format(
              Locale.ROOT,
              "--positions %,d: the model takes at most %,d tokens",
              positions,
              longest));
    }
    PatchableModelOptions options = graphOptions.modelOptions(config.transformer());
    ModelGraph graph =
        (positions == null ? options : options.withSeqLen(positions)).graph(config.transformer());
    PrintWriter out = spec.commandLine().getOut();
    if (list) {
      printNames(out, graph);
    } else {
      printSizes(out, config, graph);
    }
    out.flush();
    return Main.OK;
  }

  private HuggingFaceConfig config() {
    if (folder == null) {
      try (ExampleFolder example = ExampleFolder.unpack()) {
        return HuggingFaceConfig.read(example.path());
      }
    }
    if (!Files.exists(folder) && !Files.isSymbolicLink(folder)) {
      throw new IllegalArgumentException(
          ("%s: no such file; nothing is downloaded: expected a model folder, its config.json or a"
                  + " GGUF file")
              .formatted(folder));
    }
    return HuggingFaceConfig.read(folder);
  }

  private void printSizes(PrintWriter out, HuggingFaceConfig config, ModelGraph graph) {
    String name = folder == null ? ExampleFolder.NAME + " (built in)" : folder.toString();
    line(out, "model", "%s: %s", name, ModelFolder.describe(config));
    line(out, "nodes", "%,d", graph.srcs().size() + graph.dests().size());
    line(out, "  sources", "%,d", graph.srcs().size());
    line(out, "  destinations", "%,d", graph.dests().size());
    int edges = graph.nEdges();
    if (positions == null) {
      line(out, "edges", "%,d", edges);
    } else {
      line(out, "edges", "%,d, %,d at each of %,d positions", edges, edges / positions, positions);
    }
    line(out, "masks", "%,d bytes in float32, %,d in float64", 4L * edges, 8L * edges);
    out.println();
    out.println("Some edges:");
    examples(graph).forEach(example -> out.println("  " + example));
  }

  /** The first, the last, and what lies evenly between them. */
  private static Set<String> examples(ModelGraph graph) {
    Set<String> names = new LinkedHashSet<>();
    for (int i = 0; i < EXAMPLES; i++) {
      long index = (long) i * (graph.nEdges() - 1) / (EXAMPLES - 1);
      names.add(graph.edge((int) index).label());
    }
    return names;
  }

  private static void printNames(PrintWriter out, ModelGraph graph) {
    for (DestModule module : graph.destModules()) {
      for (int row = 0; row < module.nDests(); row++) {
        DestNode dest = graph.dests().get(module.firstDest() + row);
        for (SrcNode src : graph.srcs().subList(module.inStart(), module.inStop())) {
          out.println(new Edge(src, dest).name());
        }
      }
    }
  }

  private static void line(PrintWriter out, String name, String format, Object... values) {
    out.println(
        String.format("%-16s", name) + VisibleText.of(String.format(Locale.ROOT, format, values)));
  }
}
