package org.autocircuit.generate;

import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import org.autocircuit.tokenizer.Tokenizer;

/**
 * Turns the tokens of one answer into text as they come. It gives out only what later tokens cannot
 * change: no halves of characters, and nothing that could be the beginning of a text at which the
 * answer stops. All that it gives out, joined, is what the tokenizer makes of all tokens at once
 * without special ones, up to the first text that stops it.
 *
 * <pre>{@code
 * TextStream text = TextStream.after(tokenizer, prompt, stop.texts());
 * for (GeneratedToken token : generation) {
 *   out.print(text.add(token.id()));
 * }
 * out.print(text.end());
 * }</pre>
 *
 * <p>Where bytes stand in for characters that the vocabulary lacks, as in SentencePiece-style
 * vocabularies, a run of bytes is given out when it ends: one byte too many makes all of it
 * unreadable. For one thread at a time; the tokenizer stays the caller's.
 */
public final class TextStream {

  private static final char UNREADABLE = '\uFFFD';

  private final Tokenizer tokenizer;
  private final List<String> stops;

  /** The tokens since the last but one place at which the text was whole, and their number. */
  private long[] window;

  private int size;

  /** Number of tokens of the window whose text was whole, and the length of that text. */
  private int whole;

  private int wholeLength;

  /** Text that could be the beginning of one that stops the answer. */
  private final StringBuilder held = new StringBuilder();

  private boolean stopped;

  private TextStream(Tokenizer tokenizer, long[] prompt, Collection<String> stops) {
    this.tokenizer = tokenizer;
    this.stops = List.copyOf(stops);
    window = Arrays.copyOf(prompt, prompt.length + 16);
    size = prompt.length;
    whole = size;
    wholeLength = readable(text(size));
  }

  /**
   * The text of an answer by itself, which in some vocabularies drops a space at its beginning.
   *
   * @param stops texts at which it stops; none of them is empty
   */
  public static TextStream of(Tokenizer tokenizer, Collection<String> stops) {
    return new TextStream(tokenizer, new long[0], stops);
  }

  /**
   * The text that an answer adds to its prompt's, with the space between them if there is one. The
   * prompt ends with a whole character.
   *
   * @param stops texts at which it stops, looked for in what is added; none of them is empty
   */
  public static TextStream after(Tokenizer tokenizer, long[] prompt, Collection<String> stops) {
    return new TextStream(tokenizer, prompt, stops);
  }

  /**
   * Adds a token.
   *
   * @return what is certain now and was not before; often empty
   */
  public String add(int id) {
    if (stopped || !tokenizer.hasToken(id) || tokenizer.isSpecial(id)) {
      return "";
    }
    if (size == window.length) {
      window = Arrays.copyOf(window, 2 * size);
    }
    window[size++] = id;
    if (tokenizer.isByte(id)) {
      return "";
    }
    String text = text(size);
    if (text.length() <= wholeLength || readable(text) < text.length()) {
      return "";
    }
    String more = text.substring(wholeLength);
    // The whole text of last time stays as context: the first of some tokens can lose its space.
    System.arraycopy(window, whole, window, 0, size - whole);
    size -= whole;
    whole = size;
    wholeLength = text(size).length();
    return release(more, false);
  }

  /** Returns what was held back, when no more tokens come. */
  public String end() {
    if (stopped) {
      return "";
    }
    String text = text(size);
    String more = text.substring(Math.min(wholeLength, text.length()));
    String rest = release(more, true);
    stopped = true;
    return rest;
  }

  /** Returns whether a text has come that stops the answer, or it was ended. */
  public boolean isStopped() {
    return stopped;
  }

  private String text(int count) {
    return tokenizer.decode(Arrays.copyOf(window, count), true);
  }

  /** The number of characters before one at the end that is incomplete. */
  private static int readable(String text) {
    int length = text.length();
    while (length > 0 && text.charAt(length - 1) == UNREADABLE) {
      length--;
    }
    return length;
  }

  private String release(String more, boolean all) {
    held.append(more);
    int begin = -1;
    for (String stop : stops) {
      int at = held.indexOf(stop);
      begin = at >= 0 && (begin < 0 || at < begin) ? at : begin;
    }
    stopped = begin >= 0;
    int end = stopped ? begin : all ? held.length() : held.length() - beginnings();
    String released = held.substring(0, end);
    held.delete(0, end);
    return released;
  }

  /** The length of the longest end of what is held with which one of the texts begins. */
  private int beginnings() {
    int longest = 0;
    for (String stop : stops) {
      for (int length = Math.min(stop.length() - 1, held.length()); length > longest; length--) {
        if (stop.startsWith(held.substring(held.length() - length))) {
          longest = length;
        }
      }
    }
    return longest;
  }
}
