package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.stream.LongStream;
import org.autocircuit.SentencePieceTokenizer;
import org.autocircuit.tokenizer.Tokenizer;
import org.autocircuit.tokenizer.WordLevelVocabulary;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TextStreamTest {

  @TempDir Path folder;

  private Tokenizer tokenizer;
  private int tokens;

  private Tokenizer load(String kind) throws IOException {
    switch (kind) {
      case "bytes" -> tokens = writeByteLevel();
      case "sentencepiece" -> tokens = SentencePieceTokenizer.write(folder);
      default -> {
        WordLevelVocabulary words = new WordLevelVocabulary(List.of("Mary", "and", ",", ".", "it"));
        words.write(folder, true);
        tokens = words.size();
      }
    }
    tokenizer = Tokenizer.load(folder);
    return tokenizer;
  }

  /** All bytes, some halves of characters, words with their space, and a special token. */
  private int writeByteLevel() throws IOException {
    StringBuilder vocabulary = new StringBuilder("\"<|endoftext|>\":0");
    int next = 1;
    for (int value = 0; value < 256; value++) {
      vocabulary.append(",%s:%s".formatted(spelled(new byte[] {(byte) value}), next++));
    }
    for (String word : List.of(" the", "é", " 😀", "€", "\uFFFD", "ab", "  ")) {
      byte[] bytes = word.getBytes(StandardCharsets.UTF_8);
      for (int length = 2; length <= bytes.length; length++) {
        vocabulary.append(",%s:%s".formatted(spelled(Arrays.copyOf(bytes, length)), next++));
      }
    }
    Files.writeString(
        folder.resolve("tokenizer.json"),
        """
        {"version":"1.0","added_tokens":[{"id":0,"content":"<|endoftext|>","single_word":false,
          "lstrip":false,"rstrip":false,"normalized":false,"special":true}],"normalizer":null,
         "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},
         "post_processor":null,
         "decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true},
         "model":{"type":"BPE","dropout":null,"unk_token":null,"fuse_unk":false,
          "vocab":{%s},"merges":[]}}
        """
            .formatted(vocabulary));
    return next;
  }

  private static String spelled(byte[] bytes) {
    StringBuilder letters = new StringBuilder("\"");
    for (byte each : bytes) {
      int value = each & 0xFF;
      boolean itself = (value > 32 && value < 127) || (value > 160 && value != 173);
      int others = (int) LongStream.range(0, value).filter(TextStreamTest::isOther).count();
      letters.append(String.format(Locale.ROOT, "\\u%04x", itself ? value : 256 + others));
    }
    return letters.append('"').toString();
  }

  private static boolean isOther(long value) {
    return !((value > 32 && value < 127) || (value > 160 && value != 173));
  }

  private long[] row(SplittableRandom random, int length) {
    // Some ids have no token, as in models whose vocabulary is padded; runs of few ids repeat.
    long base = random.nextLong(tokens);
    return LongStream.generate(
            () ->
                random.nextInt(3) == 0
                    ? Math.min(base + random.nextInt(4), tokens + 1)
                    : random.nextLong(tokens + 3))
        .limit(length)
        .toArray();
  }

  private static String streamed(TextStream stream, long[] row) {
    StringBuilder text = new StringBuilder();
    for (long id : row) {
      text.append(stream.add((int) id));
    }
    return text.append(stream.end()).toString();
  }

  @ParameterizedTest
  @ValueSource(strings = {"bytes", "sentencepiece", "words"})
  void theTextIsThatOfAllTokensAtOnce(String kind) throws IOException {
    try (Tokenizer all = load(kind)) {
      SplittableRandom random = new SplittableRandom(4);
      for (int round = 0; round < 1500; round++) {
        long[] row = row(random, random.nextInt(25));
        String whole = all.decode(row, true);
        assertThat(streamed(TextStream.of(all, List.of()), row)).isEqualTo(whole);
        if (whole.length() < 2) {
          continue;
        }
        int begin = random.nextInt(whole.length() - 1);
        String stop =
            whole.substring(begin, Math.min(whole.length(), begin + random.nextInt(1, 4)));
        TextStream stopping = TextStream.of(all, List.of(stop, "never comes"));
        assertThat(streamed(stopping, row)).isEqualTo(whole.substring(0, whole.indexOf(stop)));
        assertThat(stopping.isStopped()).isTrue();
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"bytes", "sentencepiece", "words"})
  void behindAPromptItIsWhatTheAnswerAdds(String kind) throws IOException {
    try (Tokenizer all = load(kind)) {
      SplittableRandom random = new SplittableRandom(5);
      for (int round = 0; round < 500; round++) {
        long[] both = row(random, 20);
        int begin = random.nextInt(1, 20);
        long[] prompt = Arrays.copyOf(both, begin);
        String before = all.decode(prompt, true);
        String text = all.decode(both, true);
        long[] shown =
            LongStream.of(prompt).filter(id -> all.hasToken(id) && !all.isSpecial(id)).toArray();
        if (before.endsWith("\uFFFD")
            || (shown.length > 0 && all.isByte(shown[shown.length - 1]))) {
          continue; // within a character, perhaps
        }
        assertThat(text).startsWith(before);
        long[] answer = Arrays.copyOfRange(both, begin, 20);
        assertThat(streamed(TextStream.after(all, prompt, List.of()), answer))
            .isEqualTo(text.substring(before.length()));
      }
    }
  }

  @Test
  void whatIsCertainComesAtOnceAndNothingElse() throws IOException {
    try (Tokenizer bytes = load("bytes")) {
      TextStream text = TextStream.of(bytes, List.of("###", "b#c"));
      long[] row = bytes.encode("a€b#c");
      assertThat(row).hasSize(7);
      assertThat(text.add((int) row[0])).isEqualTo("a");
      assertThat(text.add((int) row[1])).isEmpty();
      assertThat(text.add((int) row[2])).isEmpty();
      assertThat(text.add((int) row[3])).isEqualTo("€");
      assertThat(text.add((int) row[4])).isEmpty();
      assertThat(text.add((int) row[5])).isEmpty();
      assertThat(text.add((int) row[0])).isEqualTo("b#a");
      assertThat(text.add((int) row[5])).isEmpty();
      assertThat(text.add((int) row[5])).isEmpty();
      assertThat(text.add((int) row[0])).isEqualTo("##a");
      assertThat(text.add((int) row[4])).isEmpty();
      assertThat(text.add((int) row[5])).isEmpty();
      assertThat(text.isStopped()).isFalse();
      assertThat(text.add((int) row[6])).isEmpty();
      assertThat(text.isStopped()).isTrue();
      assertThat(text.add((int) row[0])).isEmpty();
      assertThat(text.end()).isEmpty();
    }
  }
}
