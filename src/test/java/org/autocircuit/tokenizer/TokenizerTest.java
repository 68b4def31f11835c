package org.autocircuit.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.autocircuit.exception.CheckpointException;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TokenizerTest {
  private static final String ADDED =
      """
      "added_tokens":[{"id":0,"content":"<|endoftext|>","single_word":false,"lstrip":false,
        "rstrip":false,"normalized":false,"special":true}],
      """;
  private static final String WORDS =
      """
      {"version":"1.0","truncation":null,"padding":null,%s
       "normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":%s,
       "decoder":{"type":"WordPiece","prefix":"##","cleanup":true},
       "model":{"type":"WordLevel","vocab":{"<|endoftext|>":0,"[?]":1,"Mary":2,"and":3,",":4,
         "John":5},"unk_token":"[?]"}}
      """;
  // Byte-level, as GPT-2's: a word with its space is another token than the word alone.
  private static final String BYTES =
      """
      {"version":"1.0",%s"normalizer":null,
       "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},
       "post_processor":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":false},
       "decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true},
       "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":"",
        "end_of_word_suffix":"","fuse_unk":false,
        "vocab":{"<|endoftext|>":0,"A":1,"n":2,"Ġ":3,"An":4,"ĠAn":5},
        "merges":["A n","Ġ An"]}}
      """;

  @TempDir Path folder;

  @BeforeEach
  void writeTokenizer() throws IOException {
    put("tokenizer.json", WORDS.formatted(ADDED, "null"));
  }

  private void put(String name, String text) throws IOException {
    Files.writeString(folder.resolve(name), text);
  }

  @Test
  void encodesAndDecodes() {
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.encode("Mary, and John")).containsExactly(2, 4, 3, 5);
      assertThat(tokenizer.tokens("Mary, and Bob")).containsExactly("Mary", ",", "and", "[?]");
      assertThat(tokenizer.decode(0, 2, 4, 3, 5)).isEqualTo("<|endoftext|> Mary, and John");
      assertThat(tokenizer.decode(new long[] {0, 2}, true)).isEqualTo("Mary");
      assertThat(tokenizer.decode()).isEmpty();
      assertThat(tokenizer.decode(77)).isEmpty();
      assertThatIllegalArgumentException().isThrownBy(() -> tokenizer.decode(-1));
      assertThat(tokenizer.encode("")).isEmpty();
      assertThat(tokenizer.encodeBatch(List.of("Mary and", "John ,"), false))
          .isEqualTo(new long[][] {{2, 3}, {5, 4}});
      assertThat(tokenizer).hasToString("Tokenizer[" + folder.resolve("tokenizer.json") + "]");
    }
  }

  @Test
  void neverTruncatesOrPads() throws IOException {
    put("tokenizer_config.json", "{\"model_max_length\": 4}");
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.encode("Mary ".repeat(3000))).hasSize(3000);
    }
  }

  @Test
  void anUnequalBatchNamesBothPrompts() {
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> tokenizer.encodeBatch(List.of("Mary and", "John"), false))
          .withMessageContaining("\"Mary and\" has 2")
          .withMessageContaining("\"John\" has 1");
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{\"add_bos_token\": true, \"bos_token\": \"<|endoftext|>\"}",
        "{\"add_bos_token\": true, \"bos_token\": {\"content\": \"<|endoftext|>\"}}",
      })
  void promptsBeginWithBosWhereTheFolderSaysSo(String config) throws IOException {
    put("tokenizer_config.json", config);
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.prependsBos()).isTrue();
      assertThat(tokenizer.bosId()).hasValue(0);
      assertThat(tokenizer.encode("Mary")).containsExactly(0, 2);
      assertThat(tokenizer.encode("Mary", false)).containsExactly(2);
      assertThat(tokenizer.encodeBatch(List.of("Mary"), true)).isEqualTo(new long[][] {{0, 2}});
      assertThat(tokenizer.answerToken("Mary")).isEqualTo(2);
      // Spelled out, it is the token; it is not taken back.
      assertThat(tokenizer.encode("<|endoftext|>Mary")).containsExactly(0, 0, 2);
    }
  }

  @Test
  void otherFilesCanNameTheBosToken() throws IOException {
    put("tokenizer_config.json", "{\"add_bos_token\": true}");
    put("config.json", "{\"bos_token_id\": 0}");
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.encode("Mary")).containsExactly(0, 2);
    }
    put("config.json", "{}");
    put("special_tokens_map.json", "{\"bos_token\": \"<|endoftext|>\"}");
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.encode("Mary")).containsExactly(0, 2);
    }
  }

  @Test
  void withoutASettingThePostProcessorDecides() throws IOException {
    put("special_tokens_map.json", "{\"bos_token\": \"<|endoftext|>\"}");
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.prependsBos()).isFalse();
      assertThat(tokenizer.encode("Mary", true)).containsExactly(0, 2);
    }
    String template =
        """
        {"type":"TemplateProcessing",
         "single":[{"SpecialToken":{"id":"<|endoftext|>","type_id":0}},
           {"Sequence":{"id":"A","type_id":0}}],
         "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],
         "special_tokens":{"<|endoftext|>":{"id":"<|endoftext|>","ids":[0],
           "tokens":["<|endoftext|>"]}}}
        """;
    put("tokenizer.json", WORDS.formatted(ADDED, template));
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.prependsBos()).isTrue();
      assertThat(tokenizer.encode("Mary")).containsExactly(0, 2);
      assertThat(tokenizer.encode("Mary", false)).containsExactly(2);
      assertThat(tokenizer.encodeWithSpecialTokens("Mary")).containsExactly(0, 2);
      assertThat(tokenizer.answerToken("Mary")).isEqualTo(2);
      assertThat(tokenizer.tokens("Mary")).containsExactly("Mary");
    }
    put("tokenizer_config.json", "{\"add_bos_token\": false}");
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.encode("Mary")).containsExactly(2);
    }
  }

  @Test
  void answersAreSingleKnownTokens() {
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.answerToken(" Mary")).isEqualTo(2);
      assertThat(tokenizer.answerToken("<|endoftext|>")).isZero();
      assertThatIllegalArgumentException()
          .isThrownBy(() -> tokenizer.answerToken("Mary and John"))
          .withMessageContaining("\"Mary and John\"")
          .withMessageContaining("[Mary, and, John]");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> tokenizer.answerToken(""))
          .withMessageContaining("single token");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> tokenizer.answerToken("Bob"))
          .withMessageContaining("\"Bob\" is not in the vocabulary");
    }
  }

  @Test
  void byteLevelTokensKeepTheirSpace() throws IOException {
    put("tokenizer.json", BYTES.formatted(ADDED));
    put("config.json", "{\"bos_token_id\": 0}");
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.encode("An An", true)).containsExactly(0, 4, 5);
      assertThat(tokenizer.tokens("An An")).containsExactly("An", "ĠAn");
      assertThat(tokenizer.answerToken("An")).isEqualTo(4);
      assertThat(tokenizer.answerToken(" An")).isEqualTo(5);
      assertThat(tokenizer.decode(4, 5)).isEqualTo("An An");
      assertThat(tokenizer.decode(5)).isEqualTo(" An");
      assertThatIllegalArgumentException()
          .isThrownBy(() -> tokenizer.answerToken(" An An"))
          .withMessageContaining("[ĠAn, ĠAn]");
    }
  }

  @Test
  void namesWhatTheFolderGetsWrong() throws IOException {
    put("tokenizer_config.json", "{\"add_bos_token\": true}");
    assertRefused("add_bos_token is true");
    put("tokenizer_config.json", "{\"add_bos_token\": \"yes\"}");
    assertRefused("add_bos_token is \"yes\", expected true or false");
    put("tokenizer_config.json", "{\"bos_token\": 7}");
    assertRefused("bos_token is 7");
    put("tokenizer_config.json", "{\"bos_token\": \"<s>\"}");
    assertRefused("special token <s> is not one token");
    put("tokenizer_config.json", "{\"add_bos_token\"");
    assertRefused("tokenizer_config.json: not valid JSON");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "{",
        "{}",
        "[]",
        "null",
        "hello",
        "{\"model\":{\"type\":\"Other\"}}",
        "{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":-1},\"unk_token\":\"a\"}}",
        "{\"model\":{\"type\":\"WordLevel\",\"vocab\":[],\"unk_token\":[[[",
      })
  void refusesWhatIsNoTokenizer(String text) throws IOException {
    put("tokenizer.json", text);
    assertRefused("tokenizer.json");
  }

  @Test
  void namesAMissingFile() {
    Path missing = folder.resolve("elsewhere");
    assertThatThrownBy(() -> Tokenizer.load(missing))
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(missing + ": no such file");
  }

  private void assertRefused(String part) {
    assertThatThrownBy(() -> Tokenizer.load(folder))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining(folder.toString())
        .hasMessageContaining(part);
  }

  @Test
  void aBosTokenIsNeededOnlyWhereItIsAskedFor() {
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.bosId()).isEmpty();
      assertThatIllegalStateException()
          .isThrownBy(() -> tokenizer.encode("Mary", true))
          .withMessageContaining("no beginning-of-sequence token");
    }
  }

  @Test
  void saysWhenItIsClosed() {
    Tokenizer tokenizer = Tokenizer.load(folder);
    tokenizer.close();
    tokenizer.close();
    assertThatIllegalStateException()
        .isThrownBy(() -> tokenizer.encode("Mary"))
        .withMessageContaining("is closed");
    assertThatIllegalStateException().isThrownBy(() -> tokenizer.decode(2));
  }

  @Test
  void leavesTheProgramsPropertiesAlone() {
    System.setProperty("RUST_FLAVOR", "mine");
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      assertThat(tokenizer.prependsBos()).isFalse();
      assertThat(System.getProperty("RUST_FLAVOR")).isEqualTo("mine");
      assertThat(System.getProperty("OPT_OUT_TRACKING")).isNull();
    } finally {
      System.clearProperty("RUST_FLAVOR");
    }
  }

  @Test
  void closingRacesWithManyThreads() throws Exception {
    for (int round = 0; round < 20; round++) {
      Tokenizer tokenizer = Tokenizer.load(folder);
      ExecutorService threads = Executors.newFixedThreadPool(8);
      List<Future<?>> running = new ArrayList<>();
      for (int thread = 0; thread < 8; thread++) {
        running.add(
            threads.submit(
                () -> {
                  try {
                    for (int i = 0; i < 10_000; i++) {
                      assertThat(tokenizer.encode("Mary and John")).containsExactly(2, 3, 5);
                    }
                  } catch (IllegalStateException e) {
                    assertThat(e).hasMessageContaining("is closed");
                  }
                }));
      }
      Thread.sleep(5);
      tokenizer.close();
      for (Future<?> future : running) {
        future.get();
      }
      threads.shutdown();
    }
  }
}
