package org.autocircuit.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.prune.PruneAlgorithm;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ScoreSign;
import org.autocircuit.prune.VerifiedScores;
import org.autocircuit.report.CircuitPage;
import org.autocircuit.report.RecoveryCurve;
import picocli.CommandLine.Model.CommandSpec;

/** Makes the page on which people explore what a command found. For one thread. */
final class DiscoveryPage {

  private final CommandSpec spec;
  private final ModelFolder folder;
  private final Prompts prompts;
  private CircuitPage.Builder page;
  private PruneScores first;

  DiscoveryPage(CommandSpec spec, ModelFolder folder, Prompts prompts) {
    this.spec = spec;
    this.folder = folder;
    this.prompts = prompts;
  }

  /** Adds what a method gave; the first is shown, others can be compared with it. */
  DiscoveryPage scores(PruneScores scores, PruneAlgorithm algorithm, String meaning) {
    return add(algorithm.name(), algorithm.unit(), algorithm.sign(), meaning, scores);
  }

  /** Adds the scores of a file. */
  DiscoveryPage scores(PruneScores scores, Path file) {
    boolean signed = Arrays.stream(scores.toArray()).anyMatch(score -> score < 0);
    ScoreSign sign = signed ? ScoreSign.SIGNED : ScoreSign.UNSIGNED;
    return add(
        file.toString(), "none", sign, "The scores are those of %s.".formatted(file), scores);
  }

  private DiscoveryPage add(
      String name, String unit, ScoreSign sign, String meaning, PruneScores scores) {
    if (page != null) {
      page.other(name, unit, sign, meaning, scores).fact("compared with", name);
      return this;
    }
    first = scores;
    page =
        CircuitPage.builder(scores, "The circuit of " + folder.name())
            .fact("model", folder.describe())
            .fact("prompts", prompts.describe())
            .fact("method", name)
            .method(name, unit, sign, meaning)
            .positions(prompts.labels(folder.tokenizer()));
    RunFacts.ofRun(spec).forEach(page::fact);
    return this;
  }

  DiscoveryPage verified(Optional<VerifiedScores> verified) {
    verified.ifPresent(page::verified);
    return this;
  }

  /** Adds the standard errors of the first scores, if they are known. */
  DiscoveryPage errors(Optional<PruneScores> errors) {
    errors.ifPresent(page::standardErrors);
    return this;
  }

  /** Adds where heads look on the first prompts, those that {@link #curve} adds. */
  DiscoveryPage attention(PatchableModel model) {
    List<Map<String, float[][]>> patterns = HeadsOnPrompts.attention(model, prompts.testing());
    for (int prompt = 0; prompt < patterns.size(); prompt++) {
      page.attention(prompt, patterns.get(prompt));
    }
    return this;
  }

  /** Adds what circuits recover, and what the smallest good one does on each prompt. */
  DiscoveryPage measured(CircuitComparison.Measured measured, Optional<SmallestPart> smallest) {
    RecoveryCurve.Point all = point(measured, first.size(), measured.full());
    RecoveryCurve.Point none = point(measured, 0, measured.empty());
    List<RecoveryCurve.Point> found = new ArrayList<>(points(measured, measured.found()));
    if (smallest.isPresent()) {
      SmallestPart part = smallest.get();
      int size = part.found().circuit().size();
      page.smallest(
          new CircuitPage.Smallest(
              part.found().share(),
              size,
              part.found().faithfulness(),
              prompts.heldOut() ? part.tested() : Double.NaN));
      all = all.withPrompts(part.full());
      none = none.withPrompts(part.none());
      found.replaceAll(point -> point.edges() == size ? point.withPrompts(part.values()) : point);
      if (found.stream().noneMatch(point -> point.edges() == size)) {
        found.add(RecoveryCurve.Point.of(part.values(), part.tested()));
      }
    }
    RecoveryCurve curve = RecoveryCurve.of("logit difference", measured.range(), all, none, found);
    return curve(
        measured.random().isEmpty()
            ? curve
            : curve.withBaseline("random circuits", points(measured, measured.random())));
  }

  /** Adds what circuits recover, and the prompts that they ran on. */
  DiscoveryPage curve(RecoveryCurve curve) {
    page.curve(curve);
    page.prompts(
        prompts.testing().stream().mapToInt(PromptPairBatch::size).sum(),
        new ShownPrompts(folder.tokenizer()).of(prompts.testing()));
    return this;
  }

  private static List<RecoveryCurve.Point> points(
      CircuitComparison.Measured measured, Map<Integer, CircuitMeasures> circuits) {
    return circuits.entrySet().stream()
        .map(circuit -> point(measured, circuit.getKey(), circuit.getValue()))
        .toList();
  }

  private static RecoveryCurve.Point point(
      CircuitComparison.Measured measured, int edges, CircuitMeasures measures) {
    return new RecoveryCurve.Point(
        edges,
        measures.logitDifference(),
        Double.NaN,
        measures.recovered(measured.full(), measured.empty()),
        measures.klDivergence(),
        measures.accuracy(),
        List.of());
  }

  void write(Path file) throws IOException {
    RunFacts.hashes(folder.path()).forEach(page::fact);
    page.fact("SHA-256 of the scores", RunFacts.hash(first));
    page.build().write(file);
  }
}
