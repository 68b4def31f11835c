package org.autocircuit.known;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.autocircuit.data.SeededShuffle;

/**
 * The weights and prompts of {@link KnownTask#INDUCTION}. Letters are asked for and digits follow
 * them. Half of the prompts ask for one of the first letters, whose attention is saturated in the
 * saturated version; their corrupt prompts ask for another letter and have other digits. The other
 * half ask for one of the last letters, whose attention is soft in both; in their corrupt prompts
 * letters have changed places, which only the keys can tell.
 */
final class InductionTask {

  private static final List<String> VOCABULARY =
      List.of("a", "b", "c", "d", "e", "f", "g", "h", "1", "2", "3", "4", "5", "6", "^");
  private static final int STRONG = 4;
  private static final int LETTERS = 8;
  private static final int DIGITS = 6;
  private static final int BEGIN = LETTERS + DIGITS;
  private static final int POSITIONS = 8;
  private static final int PROMPTS = 48;

  private InductionTask() {}

  static KnownModel model(boolean saturated) {
    int tokens = VOCABULARY.size();
    HandWrittenWeights w = new HandWrittenWeights(3, 0, tokens, POSITIONS, 64);
    int before = w.reserve(tokens);
    int copied = w.reserve(tokens);
    int junk = w.reserve(8);
    for (int position = 1; position < POSITIONS; position++) {
      w.query(0, 0, w.position(position), position - 1, Gaps.SATURATED);
    }
    for (int position = 0; position < POSITIONS; position++) {
      w.key(0, 0, w.position(position), position, 1);
    }
    for (int token = 0; token < tokens; token++) {
      double gap = saturated && token < STRONG ? Gaps.SATURATED : Gaps.SOFT;
      w.value(0, 0, w.token(token), token, 1);
      w.output(0, 0, token, before + token, 1);
      w.query(1, 0, w.token(token), token, gap);
      w.key(1, 0, before + token, token, 1);
      w.value(1, 0, w.token(token), token, 1);
      w.output(1, 0, token, copied + token, 1);
      w.logit(token, copied + token, Gaps.LOGIT);
    }
    SplittableRandom random = new SplittableRandom(3);
    for (int head = 1; head < 3; head++) {
      w.distract(0, head, junk, 8, random);
      w.distract(1, head, junk, 8, random);
    }
    return new KnownModel(
        KnownTask.INDUCTION,
        saturated,
        w,
        VOCABULARY,
        examples(),
        List.of(
            "Resid Start->A0.0.V",
            "A0.0->A1.0.K",
            "Resid Start->A1.0.Q",
            "Resid Start->A1.0.V",
            "A1.0->Resid End"));
  }

  private static List<KnownModel.Example> examples() {
    SplittableRandom random = new SplittableRandom(4);
    List<KnownModel.Example> examples = new ArrayList<>();
    for (int i = 0; i < PROMPTS; i++) {
      int[] digits = SeededShuffle.order(DIGITS, random.nextLong());
      int asked = random.nextInt(3);
      int other = (asked + 1 + random.nextInt(2)) % 3;
      if (i % 2 == 0) {
        int[] letters = SeededShuffle.order(STRONG, random.nextLong());
        int[] otherDigits = {digits[3], digits[4], digits[5]};
        examples.add(
            new KnownModel.Example(
                prompt(letters, digits, letters[asked]),
                prompt(letters, otherDigits, letters[other]),
                digit(digits[asked]),
                digit(otherDigits[other])));
      } else {
        int[] letters = SeededShuffle.order(LETTERS - STRONG, random.nextLong());
        for (int j = 0; j < letters.length; j++) {
          letters[j] += STRONG;
        }
        int[] changed = letters.clone();
        changed[asked] = letters[other];
        changed[other] = letters[asked];
        examples.add(
            new KnownModel.Example(
                prompt(letters, digits, letters[asked]),
                prompt(changed, digits, letters[asked]),
                digit(digits[asked]),
                digit(digits[other])));
      }
    }
    return examples;
  }

  private static int[] prompt(int[] letters, int[] digits, int asked) {
    return new int[] {
      BEGIN,
      letters[0],
      digit(digits[0]),
      letters[1],
      digit(digits[1]),
      letters[2],
      digit(digits[2]),
      asked
    };
  }

  private static int digit(int number) {
    return LETTERS + number;
  }
}
