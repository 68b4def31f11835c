package org.autocircuit.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.function.IntFunction;
import org.autocircuit.internal.Figures;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.report.CircuitPicture;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;

/** The options that say which picture of a circuit to draw, and where. */
final class PictureOptions {

  @Option(
      names = "--picture",
      paramLabel = "FILE",
      description =
          "Where the picture of the best edges goes, an .svg image. Default:"
              + " autocircuit-circuit.svg, or none where there is a --page.")
  private Path picture;

  @Option(names = "--no-picture", description = "Draw no picture.")
  private boolean noPicture;

  @Option(
      names = "--picture-edges",
      paramLabel = "N",
      defaultValue = "40",
      description = "Number of edges to draw. Default: ${DEFAULT-VALUE}.")
  private int edges;

  /**
   * Refuses options that do not go together, and places that cannot be written.
   *
   * @param byDefault whether to draw a picture that nobody asked for
   */
  void check(CommandSpec spec, Outputs outputs, boolean byDefault) {
    if (edges < 1) {
      throw new ParameterException(spec.commandLine(), "--picture-edges must be at least 1");
    }
    if (noPicture) {
      for (String option : List.of("--picture", "--picture-edges")) {
        if (spec.commandLine().getParseResult().hasMatchedOption(option)) {
          throw new ParameterException(
              spec.commandLine(), option + " says how to draw what --no-picture leaves out");
        }
      }
      return;
    }
    if (picture == null && byDefault) {
      picture = Path.of("autocircuit-circuit.svg");
    }
    if (picture == null) {
      if (spec.commandLine().getParseResult().hasMatchedOption("--picture-edges")) {
        throw new ParameterException(
            spec.commandLine(), "--picture-edges has no effect beside --page without --picture");
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

  /** Draws the picture, and says so; nothing where none is wanted. */
  String write(PruneScores scores, IntFunction<String> positions, Outputs outputs)
      throws IOException {
    if (noPicture || picture == null) {
      return "";
    }
    int drawn = Math.min(edges, scores.size());
    CircuitPicture.of(scores.graph(), scores.top(drawn), Discover.best(drawn, "edge"), positions)
        .write(picture);
    outputs.wrote(picture);
    return "%s (%s)".formatted(picture, Figures.count(drawn, "edge"));
  }
}
