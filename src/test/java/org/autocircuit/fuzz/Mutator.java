package org.autocircuit.fuzz;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;

/** Damages files in ways that get past the first check. A seed stands for one series of damages. */
final class Mutator {

  /** Says what a file is made of. */
  enum Form {
    JSON,
    /** Eight bytes with the length of a JSON header, the header, data. */
    SAFETENSORS,
    /** Little-endian numbers and texts in the first part, data behind. */
    BINARY
  }

  // Possessive: long texts must not use up the stack.
  private static final String TEXT = "\"[^\"\\\\]*+(?:\\\\.[^\"\\\\]*+)*+\"";
  private static final Pattern TOKEN =
      Pattern.compile(TEXT + "|-?\\d[\\d.eE+-]*+|true|false|null|[\\[\\]{},:]");
  private static final Pattern MEMBER =
      Pattern.compile(TEXT + "\\s*:\\s*(?:" + TEXT + "|[^,\\[\\]{}\"]++)");

  private static final List<String> HOSTILE =
      List.of(
          "0",
          "1",
          "2",
          "-1",
          "3.5",
          "-0.0",
          "1e400",
          "1e-400",
          "1E+2147483647",
          "NaN",
          "2147483647",
          "2147483648",
          "4294967295",
          "4294967296",
          "-2147483649",
          "9223372036854775807",
          "9223372036854775808",
          "-9223372036854775808",
          "18446744073709551615",
          "9".repeat(400),
          "0." + "1".repeat(2000),
          "null",
          "true",
          "false",
          "{}",
          "[]",
          "[null]",
          "[[]]",
          "\"\"",
          "\"x\"",
          "\"../x\"",
          "\"\\u0000\"",
          "\"\\ud800\"",
          "\"" + "n".repeat(70_000) + "\"",
          "[" + "0,".repeat(3000) + "0]",
          "\"F32\"",
          "\"I64\"",
          "\"(\"",
          "\"(a*)*\\\\1{99999}\"");

  private static final long[] NUMBERS = {
    0,
    1,
    2,
    7,
    8,
    9,
    31,
    64,
    127,
    255,
    256,
    65_535,
    1 << 20,
    100_000_001,
    Integer.MAX_VALUE,
    1L << 31,
    (1L << 32) - 1,
    1L << 32,
    1L << 40,
    1L << 60,
    1L << 62,
    Long.MAX_VALUE,
    -1,
    -8,
    Long.MIN_VALUE
  };

  private static final byte[][] BROKEN_TEXT = {
    {(byte) 0xFF}, {(byte) 0xC0, (byte) 0x80}, {(byte) 0xED, (byte) 0xA0, (byte) 0x80},
    {(byte) 0xF8}, {0}, {(byte) 0xEF, (byte) 0xBB, (byte) 0xBF}
  };

  private final SplittableRandom random;

  Mutator(long seed) {
    random = new SplittableRandom(seed);
  }

  /** A damaged copy. */
  byte[] mutate(byte[] file, Form form) {
    byte[] bytes = file;
    int damages = random.nextBoolean() ? 1 : 1 + random.nextInt(3);
    for (int i = 0; i < damages; i++) {
      bytes =
          switch (form) {
            case JSON -> random.nextInt(5) == 0 ? damageBytes(bytes) : damageJson(bytes);
            case SAFETENSORS -> damageSafetensors(bytes);
            case BINARY -> random.nextInt(3) == 0 ? damageBytes(bytes) : damageNumber(bytes);
          };
    }
    return bytes;
  }

  /** One of several. */
  <T> T any(List<T> list) {
    return list.get(random.nextInt(list.size()));
  }

  private byte[] damageSafetensors(byte[] file) {
    if (file.length < Long.BYTES || random.nextInt(6) == 0) {
      return damageBytes(file);
    }
    ByteBuffer view = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
    long length = view.getLong(0);
    if (length < 0 || length > file.length - Long.BYTES || random.nextInt(10) == 0) {
      byte[] copy = file.clone();
      ByteBuffer.wrap(copy).order(ByteOrder.LITTLE_ENDIAN).putLong(0, number(length));
      return copy;
    }
    int end = Long.BYTES + (int) length;
    byte[] header = damageJson(Arrays.copyOfRange(file, Long.BYTES, end));
    // Behind a header that goes on as before a number or two that no longer fits.
    return ByteBuffer.allocate(Long.BYTES + header.length + file.length - end)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(header.length)
        .put(header)
        .put(file, end, file.length - end)
        .array();
  }

  private byte[] damageJson(byte[] bytes) {
    // One char for each byte, so that bytes that are no text survive.
    String json = new String(bytes, StandardCharsets.ISO_8859_1);
    List<MatchResult> tokens = TOKEN.matcher(json).results().toList();
    List<MatchResult> values = new ArrayList<>(tokens);
    values.removeIf(token -> "[]{},:".contains(token.group()));
    if (values.isEmpty()) {
      return damageBytes(bytes);
    }
    MatchResult value = any(values);
    String damaged =
        switch (random.nextInt(14)) {
          case 0, 1, 2 -> replaced(json, value, any(HOSTILE));
          case 3, 4, 5 -> replaced(json, value, any(values).group());
          case 6, 7, 8 -> nudged(json, value);
          case 9 -> withoutMember(json);
          case 10 -> twice(json);
          case 11 -> nested(json, value);
          case 12 -> replaced(json, any(tokens), any(tokens).group());
          default -> replaced(json, any(tokens), "");
        };
    return damaged.getBytes(StandardCharsets.ISO_8859_1);
  }

  private static String replaced(String json, MatchResult token, String by) {
    return json.substring(0, token.start()) + by + json.substring(token.end());
  }

  private String withoutMember(String json) {
    List<MatchResult> members = MEMBER.matcher(json).results().toList();
    if (members.isEmpty()) {
      return "{}";
    }
    MatchResult member = any(members);
    String rest = json.substring(member.end()).replaceFirst("^\\s*,", "");
    return json.substring(0, member.start()) + rest;
  }

  /** A member again, right behind itself or elsewhere. */
  private String twice(String json) {
    List<MatchResult> members = MEMBER.matcher(json).results().toList();
    if (members.isEmpty()) {
      return json + json;
    }
    MatchResult member = any(members);
    int at = random.nextBoolean() ? member.end() : any(members).end();
    return json.substring(0, at) + "," + member.group() + json.substring(at);
  }

  private String nested(String json, MatchResult value) {
    int depth = (int) Math.pow(10, random.nextDouble(1, 5));
    String open = random.nextBoolean() ? "[" : "{\"a\":";
    String close = open.equals("[") ? "]" : "}";
    boolean closed = random.nextInt(4) > 0;
    String deep = open.repeat(depth) + value.group() + (closed ? close.repeat(depth) : "");
    return replaced(json, value, deep);
  }

  /** A number that is one off, or half a text. */
  private String nudged(String json, MatchResult value) {
    String text = value.group();
    if (text.matches("\\d{1,18}")) {
      long number = Long.parseLong(text);
      return replaced(json, value, Long.toString(random.nextInt(3) == 0 ? 2 * number : number + 1));
    }
    int cut = text.length() / 2;
    return replaced(
        json, value, text.startsWith("\"") ? text.substring(0, cut) + "\"" : text.substring(cut));
  }

  /** Four or eight bytes, more often near the beginning. */
  private byte[] damageNumber(byte[] file) {
    if (file.length < Long.BYTES) {
      return damageBytes(file);
    }
    byte[] copy = file.clone();
    ByteBuffer view = ByteBuffer.wrap(copy).order(ByteOrder.LITTLE_ENDIAN);
    double place = random.nextDouble();
    int at = (int) (place * place * place * (file.length - Long.BYTES));
    if (random.nextBoolean()) {
      view.putInt(at, (int) number(view.getInt(at)));
    } else {
      view.putLong(at, number(view.getLong(at)));
    }
    return copy;
  }

  private long number(long before) {
    return random.nextInt(4) == 0
        ? before + random.nextInt(-2, 3)
        : NUMBERS[random.nextInt(NUMBERS.length)];
  }

  private byte[] damageBytes(byte[] file) {
    int begin = random.nextInt(file.length + 1);
    int end = Math.min(file.length, begin + 1 + random.nextInt(1 + file.length / 4));
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    out.write(file, 0, begin);
    switch (random.nextInt(6)) {
      case 0 -> {
        return out.toByteArray(); // cut off
      }
      case 1 -> {
        byte[] noise = new byte[end - begin];
        random.nextBytes(noise);
        out.writeBytes(noise);
        out.write(file, end, file.length - end);
      }
      case 2 -> { // a part again
        out.write(file, begin, end - begin);
        out.write(file, begin, file.length - begin);
      }
      case 3 -> out.write(file, end, file.length - end); // a part left out
      case 4 -> {
        out.writeBytes(BROKEN_TEXT[random.nextInt(BROKEN_TEXT.length)]);
        out.write(file, begin, file.length - begin);
      }
      default -> {
        out.write(file, begin, file.length - begin);
        byte[] flipped = out.toByteArray();
        if (flipped.length > 0) {
          flipped[random.nextInt(flipped.length)] ^= (byte) (1 << random.nextInt(8));
        }
        return flipped;
      }
    }
    return out.toByteArray();
  }
}
