package org.autocircuit.known;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.autocircuit.data.SeededShuffle;

/** The weights and prompts of {@link KnownTask#REVERSE}. */
final class ReverseTask {

  private static final List<String> VOCABULARY = List.of("a", "b", "c", "d", "e", "f", "^", "|");
  private static final int LETTERS = 6;
  private static final int BEGIN = 6;
  private static final int BAR = 7;
  private static final int POSITIONS = 7;
  private static final int LAST = POSITIONS - 1;
  private static final int PROMPTS = 48;

  private ReverseTask() {}

  static KnownModel model(boolean saturated) {
    HandWrittenWeights w = new HandWrittenWeights(3, 0, VOCABULARY.size(), POSITIONS, 40);
    int barAt = w.reserve(POSITIONS);
    int copied = w.reserve(LETTERS);
    int junk = w.reserve(8);
    for (int position = 0; position < POSITIONS; position++) {
      w.query(0, 0, w.position(position), 0, saturated ? Gaps.SATURATED : Gaps.SOFT);
      w.value(0, 0, w.position(position), position, 1);
      w.output(0, 0, position, barAt + position, 1);
      w.key(1, 0, w.position(position), position, 1);
      if (next(position) >= 0) {
        w.query(1, 0, barAt + position, next(position), Gaps.SOFT);
      }
    }
    w.key(0, 0, w.token(BAR), 0, 1);
    for (int letter = 0; letter < LETTERS; letter++) {
      w.value(1, 0, w.token(letter), letter, 1);
      w.output(1, 0, letter, copied + letter, 1);
      w.logit(letter, copied + letter, Gaps.LOGIT);
    }
    SplittableRandom random = new SplittableRandom(1);
    for (int head = 1; head < 3; head++) {
      w.distract(0, head, junk, 8, random);
      w.distract(1, head, junk, 8, random);
    }
    return new KnownModel(
        KnownTask.REVERSE,
        saturated,
        w,
        VOCABULARY,
        examples(),
        List.of("Resid Start->A0.0.K", "A0.0->A1.0.Q", "Resid Start->A1.0.V", "A1.0->Resid End"));
  }

  /** The position of the next letter if the bar is at some position. */
  private static int next(int bar) {
    return 2 * bar - 1 - LAST;
  }

  private static List<KnownModel.Example> examples() {
    SplittableRandom random = new SplittableRandom(2);
    List<KnownModel.Example> examples = new ArrayList<>();
    while (examples.size() < PROMPTS) {
      int cleanBar = 4 + random.nextInt(3);
      int corruptBar = 4 + random.nextInt(3);
      int[] clean = prompt(cleanBar, random);
      int[] corrupt = prompt(corruptBar, random);
      int answer = clean[next(cleanBar)];
      int wrong = corrupt[next(corruptBar)];
      boolean everyLetterDiffers = true;
      for (int i = 0; i < LAST; i++) {
        everyLetterDiffers &= clean[i] != corrupt[i] || clean[i] >= LETTERS;
      }
      if (cleanBar != corruptBar && answer != wrong && everyLetterDiffers) {
        examples.add(new KnownModel.Example(clean, corrupt, answer, wrong));
      }
    }
    return examples;
  }

  /** Different letters before the bar, and the last of them again behind it, in reverse order. */
  private static int[] prompt(int bar, SplittableRandom random) {
    int[] tokens = new int[POSITIONS];
    int begin = random.nextInt(2);
    Arrays.fill(tokens, 0, begin, BEGIN);
    int[] letters = SeededShuffle.order(LETTERS, random.nextLong());
    for (int i = begin; i < bar; i++) {
      tokens[i] = letters[i];
    }
    tokens[bar] = BAR;
    for (int i = bar + 1; i < POSITIONS; i++) {
      tokens[i] = tokens[2 * bar - i];
    }
    return tokens;
  }
}
