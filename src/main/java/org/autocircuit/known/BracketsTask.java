package org.autocircuit.known;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/** The weights and prompts of {@link KnownTask#BRACKETS}. */
final class BracketsTask {

  private static final List<String> VOCABULARY =
      List.of("(", ")", "[", "]", "?(", "?[", "yes", "no");
  private static final int BRACKETS = 4;
  private static final int ASK = 4;
  private static final int YES = 6;
  private static final int NO = 7;
  private static final int POSITIONS = 7;
  private static final int LAST = POSITIONS - 1;
  private static final int PROMPTS = 64;
  private static final int HIDDEN = 8;

  private BracketsTask() {}

  static KnownModel model(boolean saturated) {
    HandWrittenWeights w = new HandWrittenWeights(2, HIDDEN, VOCABULARY.size(), POSITIONS, 28);
    int balance = w.reserve(1);
    int unbalanced = w.reserve(1);
    int junk = w.reserve(8);
    for (int kind = 0; kind < 2; kind++) {
      double gap = saturated ? Gaps.SATURATED : Gaps.SOFT;
      w.query(0, 0, w.token(ASK + kind), kind, gap);
      for (int closing = 0; closing < 2; closing++) {
        w.key(0, 0, w.token(2 * kind + closing), kind, 1);
        w.value(0, 0, w.token(2 * kind + closing), 0, closing == 0 ? 1 : -1);
      }
    }
    w.output(0, 0, 0, balance, 1);
    w.in(0, balance, 0, 1);
    w.in(0, balance, 1, -1);
    w.out(0, 0, unbalanced, 1);
    w.out(0, 1, unbalanced, 1);
    w.logit(NO, unbalanced, Gaps.LOGIT);
    w.logit(YES, w.position(LAST), 1);
    SplittableRandom random = new SplittableRandom(5);
    w.distract(0, 1, junk, 8, random);
    w.distract(1, 0, junk, 8, random);
    w.distract(1, 1, junk, 8, random);
    w.distract(0, 2, junk, 8, HIDDEN, random);
    w.distract(1, 0, junk, 8, HIDDEN, random);
    return new KnownModel(
        KnownTask.BRACKETS,
        saturated,
        w,
        VOCABULARY,
        examples(),
        List.of(
            "Resid Start->A0.0.Q",
            "Resid Start->A0.0.K",
            "Resid Start->A0.0.V",
            "A0.0->MLP 0",
            "MLP 0->Resid End"));
  }

  private static List<KnownModel.Example> examples() {
    SplittableRandom random = new SplittableRandom(6);
    List<KnownModel.Example> examples = new ArrayList<>();
    while (examples.size() < PROMPTS) {
      int[] clean = prompt(random);
      int[] corrupt = prompt(random);
      int wanted = examples.size() % 2 == 0 ? YES : NO;
      if (answer(clean) == wanted && answer(corrupt) == YES + NO - wanted) {
        examples.add(new KnownModel.Example(clean, corrupt, wanted, YES + NO - wanted));
      }
    }
    return examples;
  }

  /** Six brackets and the question; two or four brackets are of the asked kind. */
  private static int[] prompt(SplittableRandom random) {
    while (true) {
      int[] tokens = new int[POSITIONS];
      for (int i = 0; i < LAST; i++) {
        tokens[i] = random.nextInt(BRACKETS);
      }
      tokens[LAST] = ASK + random.nextInt(2);
      int asked = counts(tokens)[0];
      if (asked == 2 || asked == 4) {
        return tokens;
      }
    }
  }

  private static int answer(int[] tokens) {
    return counts(tokens)[1] == 0 ? YES : NO;
  }

  /** Counts brackets of the asked kind, and how many more of them open than close. */
  private static int[] counts(int[] tokens) {
    int[] counts = new int[2];
    for (int i = 0; i < LAST; i++) {
      if (tokens[i] / 2 == tokens[LAST] - ASK) {
        counts[0]++;
        counts[1] += tokens[i] % 2 == 0 ? 1 : -1;
      }
    }
    return counts;
  }
}
