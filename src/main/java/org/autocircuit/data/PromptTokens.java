package org.autocircuit.data;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;
import org.autocircuit.exception.AnswerException;
import org.autocircuit.exception.PromptDatasetException;
import org.autocircuit.internal.Figures;
import org.autocircuit.internal.VisibleText;
import org.autocircuit.tokenizer.Tokenizer;

/**
 * The prompts and answers of a dataset as tokens, checked as a whole: every problem is named with
 * its place, all of them in one exception. An answer is the token that continues its prompts: the
 * same one after the clean prompt and the corrupt one. Where a text gives no single token there and
 * the prompt keeps its own, the other spelling of its leading space is tried. Plain Java data,
 * immutable.
 */
public final class PromptTokens {

  private static final int SHOWN_PER_KIND = 3;

  @SuppressWarnings("ArrayRecordComponent") // never compared
  record Row(
      int index,
      PromptPair pair,
      long[] clean,
      long[] corrupt,
      long[] answers,
      long[] wrongAnswers,
      List<OtherSpelling> others) {}

  /**
   * The token that an answer would be with its leading space, or without, where that is another.
   *
   * @param prompt index of the pair
   * @param place which answer
   * @param text the other spelling
   * @param token the answer's token
   * @param other the token of the other spelling
   */
  public record OtherSpelling(int prompt, String place, String text, long token, long other) {}

  private final PromptDataset dataset;
  private final Tokenizer tokenizer;
  private final boolean prependBos;
  private final boolean keepsSpaces;
  private final List<String> problems = new ArrayList<>();
  private final Map<String, List<String>> warnings = new LinkedHashMap<>();
  private final List<Row> rows = new ArrayList<>();

  private PromptTokens(PromptDataset dataset, Tokenizer tokenizer, boolean prependBos) {
    this.dataset = dataset;
    this.tokenizer = tokenizer;
    this.prependBos = prependBos;
    keepsSpaces = tokenizer.keepsSpaces();
    for (int i = 0; i < dataset.size(); i++) {
      rows.add(row(i, dataset.prompts().get(i)));
    }
    if (!problems.isEmpty()) {
      throw new PromptDatasetException(dataset.source(), problems);
    }
    checkLabels();
  }

  /**
   * Tokenises a dataset.
   *
   * @param dataset the texts
   * @param tokenizer used here only; it can be closed afterwards
   * @throws PromptDatasetException naming every problem and its place
   */
  public static PromptTokens of(PromptDataset dataset, Tokenizer tokenizer) {
    return of(dataset, tokenizer, tokenizer.prependsBos());
  }

  /**
   * As {@link #of(PromptDataset, Tokenizer)}, whatever {@link Tokenizer#prependsBos()} says.
   *
   * @param prependBos whether texts begin with the beginning-of-sequence token
   * @throws PromptDatasetException naming every problem and its place
   */
  public static PromptTokens of(PromptDataset dataset, Tokenizer tokenizer, boolean prependBos) {
    return new PromptTokens(dataset, tokenizer, prependBos);
  }

  /** Returns what is probably not meant, a line each: places, tokens and what to write instead. */
  public List<String> warnings() {
    List<String> lines = new ArrayList<>();
    warnings.forEach(
        (kind, places) -> {
          int shown = Math.min(SHOWN_PER_KIND, places.size());
          lines.addAll(places.subList(0, shown));
          if (places.size() > shown) {
            lines.add(
                String.format(Locale.ROOT, "%s: %,d more like these", kind, places.size() - shown));
          }
        });
    return lines;
  }

  /**
   * Says what is probably not meant in a prompt: words that are not in the vocabulary, special
   * tokens that it spells, a space at its end that the tokenizer keeps, no text at all.
   *
   * @param place what lines call the prompt
   * @return a line for each by its kind
   */
  public static Map<String, String> warnings(
      Tokenizer tokenizer, String text, String place, boolean prependBos) {
    Map<String, String> found = new LinkedHashMap<>();
    List<String> words = tokenizer.unknownWords(text);
    if (!words.isEmpty()) {
      found.put(
          "unknown words",
          "%s: not in the vocabulary, the model reads %s: %s"
              .formatted(
                  place,
                  tokenizer.unknownToken().orElse(""),
                  VisibleText.of("\"" + String.join("\", \"", words) + "\"")));
    }
    long[] tokens = tokenizer.encode(text, false);
    if (tokens.length == 0 && prependBos) {
      found.put(
          "empty prompts",
          "%s is empty: the answer follows the beginning-of-sequence token alone".formatted(place));
    }
    for (int i = 0; i < tokens.length; i++) {
      if (tokenizer.isSpecial(tokens[i]) && !tokenizer.isUnknown(tokens[i])) {
        boolean twice =
            prependBos && i == 0 && tokenizer.bosId().equals(OptionalLong.of(tokens[i]));
        found.put(
            "special tokens",
            "%s spells the special token %s%s"
                .formatted(
                    place,
                    tokenizer.show(tokens[i]),
                    twice ? ", which prompts begin with anyway: the model reads it twice" : ""));
      }
    }
    if (tokens.length > 0 && text.endsWith(" ") && tokenizer.keepsSpaces()) {
      found.put(
          "spaces at the end",
          "%s ends in a space, so its last token is %s; answers usually bring the space themselves"
              .formatted(place, tokenizer.show(tokens[tokens.length - 1])));
    }
    return found;
  }

  /** Number of prompt pairs. */
  public int size() {
    return rows.size();
  }

  /** The pairs {@code [begin, end)} cut into batches. */
  public PromptBatches batches(int begin, int end, PromptBatches.Options options) {
    return new PromptBatches(dataset, rows.subList(begin, end), beginWithBos(), options);
  }

  /**
   * Checks what a comparison of answers needs.
   *
   * @param longest how many tokens the model takes
   * @throws PromptDatasetException naming prompts that are longer; pairs without wrong answers
   *     among others that have them, which would change the metric for all; and if no corrupt
   *     prompt differs from its clean one
   */
  public void check(int longest) {
    PromptChecks.requireComparable(dataset.source(), rows, longest);
  }

  /**
   * The number of tokens that all prompts have, which masks for each position need.
   *
   * @throws PromptDatasetException naming the prompts that are shorter or longer than the first
   */
  public int oneLength() {
    PromptChecks.requireOneLength(
        dataset.source(), List.of(rows), "scores per position need prompts of one length");
    return rows.get(0).clean().length;
  }

  /** Other spellings of answers that would be other tokens, in the order of the prompts. */
  public List<OtherSpelling> otherSpellings() {
    return rows.stream().flatMap(row -> row.others().stream()).toList();
  }

  /** A copy of the tokens of a clean prompt. */
  public long[] clean(int index) {
    return rows.get(index).clean().clone();
  }

  /** Returns whether positions of the dataset's labels move by one. */
  private boolean beginWithBos() {
    long[] first = rows.get(0).clean();
    boolean written = rows.get(0).pair().clean() instanceof PromptText.Ids;
    OptionalLong bos = tokenizer.bosId();
    return written ? bos.isPresent() && first[0] == bos.getAsLong() : prependBos;
  }

  private Row row(int index, PromptPair pair) {
    String place = "prompts[" + index + "]";
    int before = problems.size();
    long[] clean = prompt(pair.clean(), place + ".clean");
    long[] corrupt = prompt(pair.corrupt(), place + ".corrupt");
    if (problems.size() > before) {
      return null;
    }
    if (clean.length != corrupt.length) {
      problems.add(
          "%s.corrupt has %s, clean has %s: %s; clean: %s"
              .formatted(
                  place,
                  Figures.count(corrupt.length, "token"),
                  clean.length,
                  tokenizer.show(corrupt),
                  tokenizer.show(clean)));
    } else if (Arrays.equals(clean, corrupt)) {
      warn("clean = corrupt", place + ".corrupt has the tokens of clean: patching changes nothing");
    }
    List<OtherSpelling> others = new ArrayList<>();
    long[] answers = answers(pair, pair.answers(), place + ".answers", others);
    long[] wrong = answers(pair, pair.wrongAnswers(), place + ".wrong_answers", others);
    for (int i = 0; i < wrong.length && problems.size() == before; i++) {
      int at = Arrays.stream(answers).boxed().toList().indexOf(wrong[i]);
      if (at >= 0) {
        problems.add(
            "%s.wrong_answers[%s] \"%s\" is the same token as answers[%s] \"%s\": %s"
                .formatted(
                    place,
                    i,
                    pair.wrongAnswers().get(i),
                    at,
                    pair.answers().get(at),
                    tokenizer.show(wrong[i])));
      }
    }
    return new Row(index, pair, clean, corrupt, answers, wrong, others);
  }

  private long[] prompt(PromptText prompt, String place) {
    if (prompt instanceof PromptText.Ids ids) {
      checkIds(ids.toArray(), place);
      return ids.toArray();
    }
    if (prompt instanceof PromptText.Token token) {
      return new long[] {spelled(token, place)};
    }
    String text = prompt.toString();
    warnings(tokenizer, text, place, prependBos).forEach(this::warn);
    long[] encoded = tokenizer.encode(text, prependBos);
    if (encoded.length == 0) {
      problems.add(place + " has no tokens");
    }
    return encoded;
  }

  private void checkIds(long[] ids, String place) {
    for (long id : ids) {
      if (!tokenizer.hasToken(id)) {
        problems.add("%s: the vocabulary has no token %s".formatted(place, id));
      }
    }
  }

  private long spelled(PromptText.Token token, String place) {
    OptionalLong id = tokenizer.id(token.spelling());
    if (id.isEmpty()) {
      problems.add(
          "%s: the vocabulary has no token that is spelled \"%s\""
              .formatted(place, VisibleText.of(token.spelling())));
    }
    return id.orElse(-1);
  }

  private long[] answers(
      PromptPair pair, List<PromptText> answers, String place, List<OtherSpelling> others) {
    long[] tokens = new long[answers.size()];
    for (int i = 0; i < tokens.length; i++) {
      String at = place + "[" + i + "]";
      PromptText answer = answers.get(i);
      if (answer instanceof PromptText.Ids ids) {
        checkIds(ids.toArray(), at);
        tokens[i] = ids.ids().get(0);
      } else if (answer instanceof PromptText.Token token) {
        tokens[i] = spelled(token, at);
      } else {
        tokens[i] = answer(pair, answer.toString(), at, others);
      }
    }
    return tokens;
  }

  private long answer(PromptPair pair, String answer, String place, List<OtherSpelling> others) {
    try {
      return eitherSpelling(pair, answer, place, others);
    } catch (PromptDatasetException e) {
      problems.add(place + ": " + e.getMessage());
      return -1;
    }
  }

  private long eitherSpelling(
      PromptPair pair, String answer, String place, List<OtherSpelling> others) {
    String other = answer.startsWith(" ") ? answer.substring(1) : " " + answer;
    AnswerException refused;
    try {
      long token = tokenAfterBoth(pair, answer);
      if (keepsSpaces) {
        addOther(pair, other, place, token, others);
      }
      return token;
    } catch (AnswerException e) {
      refused = e;
    }
    try {
      long token = tokenAfterBoth(pair, other);
      if (!keepsSpaces) {
        return token;
      }
      if (refused.promptKept()) {
        warn(
            "spelling of answers",
            "%s: %s; it is read as \"%s\", %s"
                .formatted(place, refused.getMessage(), other, tokenizer.show(token)));
        return token;
      }
      problems.add(
          "%s: %s; \"%s\" would be one token, %s"
              .formatted(place, refused.getMessage(), other, tokenizer.show(token)));
    } catch (AnswerException e) {
      boolean asWritten = keepsSpaces || answer.startsWith(" ");
      problems.add(place + ": " + (asWritten ? refused : e).getMessage());
    }
    return -1;
  }

  private void addOther(
      PromptPair pair, String text, String place, long token, List<OtherSpelling> others) {
    try {
      long other = tokenAfterBoth(pair, text);
      if (other != token) {
        others.add(new OtherSpelling(rows.size(), place, text, token, other));
      }
    } catch (AnswerException | PromptDatasetException e) {
      return; // No spelling that could be meant.
    }
  }

  /** The token after the clean prompt, which must be that after the corrupt one. */
  private long tokenAfterBoth(PromptPair pair, String answer) {
    long clean = tokenizer.answerToken(text(pair.clean()), answer);
    long corrupt = tokenizer.answerToken(text(pair.corrupt()), answer);
    if (clean != corrupt) {
      throw new PromptDatasetException(
          "\"%s\" is %s after clean, but %s after corrupt"
              .formatted(VisibleText.of(answer), tokenizer.show(clean), tokenizer.show(corrupt)));
    }
    return clean;
  }

  /** Returns what an answer's text follows. */
  private String text(PromptText prompt) {
    if (prompt instanceof PromptText.Text text) {
      return text.text();
    }
    long[] ids =
        prompt instanceof PromptText.Ids written
            ? written.toArray()
            : new long[] {spelled((PromptText.Token) prompt, "prompt")};
    boolean bos = tokenizer.bosId().equals(OptionalLong.of(ids[0]));
    long[] own = bos ? Arrays.copyOfRange(ids, 1, ids.length) : ids;
    String text = tokenizer.decode(own);
    if (!Arrays.equals(tokenizer.encode(text, false), own)) {
      throw new AnswerException(
          "the prompt's ids are not those of its text, so that no text can continue it; write the"
              + " answer as an id or as {\"token\": \"...\"}",
          false);
    }
    return text;
  }

  private void checkLabels() {
    int labels = dataset.seqLabels().size();
    int tokens = rows.get(0).clean().length - (beginWithBos() ? 1 : 0);
    if (labels > 0 && labels != tokens) {
      warn(
          "seq_labels",
          "seq_labels has %s, prompts[0].clean %s"
              .formatted(Figures.count(labels, "label"), Figures.count(tokens, "token")));
    }
    dataset
        .wordIdxs()
        .forEach(
            (name, at) -> {
              if (at >= tokens) {
                warn(
                    "word_idxs",
                    "word_idxs.%s is %s, prompts[0].clean has %s"
                        .formatted(name, at, Figures.count(tokens, "token")));
              }
            });
  }

  private void warn(String kind, String line) {
    warnings.computeIfAbsent(kind, key -> new ArrayList<>()).add(line);
  }
}
