package org.autocircuit.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptTokens;
import org.autocircuit.data.PromptTokens.OtherSpelling;
import org.autocircuit.eval.Logits;
import org.autocircuit.internal.Figures;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.tokenizer.Tokenizer;

/** Finds answers whose other spelling, with a space or without, is what the model expects. */
final class Spellings {

  private static final int MAX_PROMPTS = 32;
  private static final double FAR_MORE = 10;
  private static final double WORTH_SAYING = 0.01;

  private Spellings() {}

  /** A line about the first such answer, and how many there are among the first prompts. */
  static List<String> warnings(PatchableModel model, PromptTokens tokens, Tokenizer tokenizer) {
    List<String> lines = new ArrayList<>();
    int prompts = 0;
    int last = -1;
    double[] probabilities = {};
    for (OtherSpelling spelling : tokens.otherSpellings()) {
      if (spelling.prompt() != last) {
        if (++prompts > MAX_PROMPTS) {
          break;
        }
        last = spelling.prompt();
        long[][] clean = {tokens.clean(last)};
        probabilities = Logits.of(model.logits(clean, PatchContext.NONE)).probabilities(0);
      }
      double meant = probabilities[(int) spelling.token()];
      double other = probabilities[(int) spelling.other()];
      if (other >= WORTH_SAYING && other > FAR_MORE * meant) {
        lines.add(
            String.format(
                Locale.ROOT,
                "%s: the model expects %s (%.2f %%) rather than %s (%.2g %%); write \"%s\"",
                spelling.place(),
                tokenizer.show(spelling.other()),
                100 * other,
                tokenizer.show(spelling.token()),
                100 * meant,
                VisibleText.of(spelling.text())));
      }
    }
    return lines.size() < 2
        ? lines
        : List.of(
            lines.get(0) + " (and %s more)".formatted(Figures.count(lines.size() - 1, "answer")));
  }
}
