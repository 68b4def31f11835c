package org.autocircuit.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.prune.PruneAlgorithm;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.ScoreSign;
import org.autocircuit.prune.VerifiedScores;
import org.autocircuit.report.CircuitPage;
import org.autocircuit.tokenizer.Tokenizer;
import picocli.CommandLine.Model.CommandSpec;

/** Makes the page on which people explore what a command found. For one thread. */
final class DiscoveryPage {

  /** So many prompts are on a page at most. */
  private static final int MOST_PROMPTS = 200;

  private static final DateTimeFormatter TIME =
      DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm 'UTC'", Locale.ROOT).withZone(ZoneOffset.UTC);

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
            .fact("command", RunFacts.command(spec))
            .fact("date", TIME.format(Instant.now()))
            .fact("version", RunFacts.version())
            .method(name, unit, sign, meaning)
            .positions(prompts.labels(folder.tokenizer()));
    return this;
  }

  DiscoveryPage verified(Optional<VerifiedScores> verified) {
    verified.ifPresent(page::verified);
    return this;
  }

  DiscoveryPage measured(CircuitComparison.Measured measured) {
    List<CircuitPage.Size> sizes = new ArrayList<>();
    for (Map.Entry<Integer, CircuitMeasures> found : measured.found().entrySet()) {
      sizes.add(
          new CircuitPage.Size(
              found.getKey(), found.getValue(), measured.random().get(found.getKey())));
    }
    page.curve(measured.full(), measured.empty(), sizes);
    return this;
  }

  DiscoveryPage smallest(Optional<SmallestPart> smallest) {
    smallest.ifPresent(
        part -> {
          page.smallest(
              new CircuitPage.Smallest(
                  part.found().share(),
                  part.found().circuit().size(),
                  part.found().faithfulness(),
                  prompts.heldOut() ? part.tested() : Double.NaN));
          page.prompts(
              part.found().circuit().size(),
              part.values().conditions().metric(),
              part.values().conditions().prompts(),
              rows(part));
        });
    return this;
  }

  void write(Path file) throws IOException {
    RunFacts.hashes(folder.path(), first).forEach(page::fact);
    page.build().write(file);
  }

  private List<CircuitPage.Prompt> rows(SmallestPart part) {
    double[] full = part.full().toArray();
    double[] values = part.values().toArray();
    double[] none = part.none().toArray();
    List<CircuitPage.Prompt> rows = new ArrayList<>();
    for (PromptPairBatch batch : prompts.testing()) {
      for (int i = 0; i < batch.size() && rows.size() < MOST_PROMPTS; i++) {
        int prompt = rows.size();
        rows.add(
            new CircuitPage.Prompt(
                show(batch.clean()[i]),
                show(batch.corrupt()[i]),
                show(batch.answers()[i]),
                show(batch.wrongAnswers()[i]),
                full[prompt],
                values[prompt],
                none[prompt]));
      }
    }
    return rows;
  }

  private List<String> show(long[] tokens) {
    Tokenizer tokenizer = folder.tokenizer();
    return Arrays.stream(tokens)
        .filter(token -> token != PromptPairBatch.NO_ANSWER)
        .mapToObj(tokenizer::show)
        .toList();
  }
}
