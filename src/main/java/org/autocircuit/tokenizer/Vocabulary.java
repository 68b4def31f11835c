package org.autocircuit.tokenizer;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.regex.Pattern;
import org.autocircuit.internal.VisibleText;

/**
 * Says how a tokenizer spells its tokens, and how people can read them. Filled once, then read
 * only.
 */
final class Vocabulary {

  /** Tokens with greater ids are shown by number. */
  private static final long MAX_ID = 1 << 22;

  private static final char SENTENCE_PIECE_SPACE = '\u2581';
  private static final Pattern BYTE = Pattern.compile("<0x[0-9A-F]{2}>");

  private final Map<String, Integer> ids = new HashMap<>();
  private String[] spellings = new String[16];
  private final BitSet added = new BitSet();
  private final BitSet special = new BitSet();
  private boolean byteLevel;
  private String unknown;

  void put(String spelling, long id) {
    if (id < 0 || id > MAX_ID) {
      return;
    }
    if (id >= spellings.length) {
      spellings = Arrays.copyOf(spellings, Math.max((int) id + 1, 2 * spellings.length));
    }
    spellings[(int) id] = spelling;
    Integer before = ids.put(spelling, (int) id);
    if (before != null && before != id && !added.get(before)) {
      spellings[before] = null;
    }
  }

  void putAdded(String spelling, long id, boolean isSpecial) {
    put(spelling, id);
    if (id >= 0 && id <= MAX_ID) {
      added.set((int) id);
      special.set((int) id, isSpecial);
    }
  }

  void setByteLevel() {
    byteLevel = true;
  }

  void setUnknown(String spelling) {
    unknown = spelling;
  }

  /** The spelling of the token that stands for unknown words, if there is one. */
  Optional<String> unknown() {
    return Optional.ofNullable(unknown);
  }

  OptionalLong id(String spelling) {
    Integer id = ids.get(spelling);
    return id == null ? OptionalLong.empty() : OptionalLong.of(id);
  }

  boolean has(long id) {
    return id >= 0 && id < spellings.length && spellings[(int) id] != null;
  }

  boolean isUnknown(long id) {
    return unknown != null && id(unknown).equals(OptionalLong.of(id));
  }

  boolean isSpecial(long id) {
    return id >= 0 && id <= MAX_ID && special.get((int) id);
  }

  boolean isByte(long id) {
    return !byteLevel && has(id) && BYTE.matcher(spellings[(int) id]).matches();
  }

  /** In quotation marks; different for different tokens. */
  String show(long id) {
    if (!has(id)) {
      return "<token " + id + ">";
    }
    String spelling = spellings[(int) id];
    if (!byteLevel || added.get((int) id)) {
      boolean twice = byteLevel && ids.containsKey(inByteLetters(spelling));
      return quoted(VisibleText.ofToken(spelling)) + (twice ? " (" + id + ")" : "");
    }
    return quoted(ofBytes(spelling));
  }

  /** As it stands within a text; empty if there is no such token. */
  String text(long id) {
    if (!has(id)) {
      return "";
    }
    String spelling = spellings[(int) id];
    if (added.get((int) id)) {
      return spelling;
    }
    if (isByte(id)) {
      byte value = (byte) Integer.parseInt(spelling.substring(3, 5), 16);
      return new String(new byte[] {value}, StandardCharsets.UTF_8);
    }
    if (!byteLevel) {
      return spelling.replace(SENTENCE_PIECE_SPACE, ' ');
    }
    return bytes(spelling)
        .map(bytes -> StandardCharsets.UTF_8.decode(bytes).toString())
        .orElse(spelling);
  }

  private static String quoted(String text) {
    return "'" + text + "'";
  }

  /** Returns what bytes spell; byte by byte where they are part of a character only. */
  private static String ofBytes(String spelling) {
    Optional<ByteBuffer> bytes = bytes(spelling);
    if (bytes.isEmpty()) {
      return VisibleText.ofToken(spelling);
    }
    try {
      CharBuffer text = StandardCharsets.UTF_8.newDecoder().decode(bytes.get());
      return VisibleText.ofToken(text.toString());
    } catch (CharacterCodingException e) {
      StringBuilder text = new StringBuilder();
      for (byte value : bytes.get().array()) {
        boolean plain = value > 31 && value < 127 && value != '\\';
        text.append(plain ? "" + (char) value : String.format(Locale.ROOT, "\\x%02x", value));
      }
      return text.toString();
    }
  }

  /** The bytes that a spelling stands for; empty if a letter of it stands for none. */
  private static Optional<ByteBuffer> bytes(String spelling) {
    ByteBuffer bytes = ByteBuffer.allocate(spelling.length());
    for (int i = 0; i < spelling.length(); i++) {
      int value = ByteLetters.VALUES.indexOf(spelling.charAt(i));
      if (value < 0) {
        return Optional.empty();
      }
      bytes.put((byte) value);
    }
    return Optional.of(bytes.flip());
  }

  private static String inByteLetters(String text) {
    StringBuilder letters = new StringBuilder();
    for (byte value : text.getBytes(StandardCharsets.UTF_8)) {
      letters.append(ByteLetters.VALUES.charAt(value & 0xFF));
    }
    return letters.toString();
  }

  /** The letters that byte-level vocabularies write for bytes: printable ones for themselves. */
  private static final class ByteLetters {
    static final String VALUES = values();

    private static String values() {
      StringBuilder letters = new StringBuilder();
      int others = 0;
      for (int value = 0; value < 256; value++) {
        boolean itself = (value > 32 && value < 127) || (value > 160 && value != 173);
        letters.append((char) (itself ? value : 256 + others++));
      }
      return letters.toString();
    }
  }
}
