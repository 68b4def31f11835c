package org.autocircuit.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Set;
import org.autocircuit.SentencePieceTokenizer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Two different tokens never read alike. */
class VocabularyTest {

  @TempDir Path folder;

  @Test
  void piecesShowTheirSpace() throws IOException {
    int tokens = SentencePieceTokenizer.write(folder);
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      Set<String> shown = new HashSet<>();
      for (int id = 0; id < tokens; id++) {
        assertThat(shown.add(tokenizer.show(id))).as(tokenizer.show(id)).isTrue();
      }
      assertThat(shown).contains("'▁s'", "'s'", "'▁'", "'<0x0A>'", "'<s>'");
      assertThat(tokenizer.show(tokens)).isEqualTo("<token " + tokens + ">");
      assertThat(tokenizer.show(tokenizer.encode("to s"))).isEqualTo("['<s>', '▁to', '▁s']");
      assertThat(tokenizer.text(tokenizer.id("▁s").getAsLong())).isEqualTo(" s");
      assertThat(tokenizer.text(tokenizer.id("<0x0A>").getAsLong())).isEqualTo("\n");
      assertThat(tokenizer.text(tokenizer.id("<0xE2>").getAsLong())).isEqualTo("\uFFFD");
      assertThat(tokenizer.text(tokenizer.id("<s>").getAsLong())).isEqualTo("<s>");
      assertThat(tokenizer.text(tokens)).isEmpty();
      assertThat(tokenizer.id("▁s")).hasValue(tokenizer.encode("s", false)[0]);
      assertThat(tokenizer.id("▁zz")).isEmpty();
      assertThat(tokenizer.isSpecial(1)).isTrue();
      assertThat(tokenizer.isSpecial(5)).isFalse();
      assertThat(tokenizer.keepsSpaces()).isTrue();
    }
  }

  @Test
  void byteLevelTokensShowTheirTextAndControlCharacters() throws IOException {
    Files.writeString(
        folder.resolve("tokenizer.json"),
        """
        {"version":"1.0","added_tokens":[{"id":9,"content":"  ","single_word":false,
          "lstrip":false,"rstrip":false,"normalized":false,"special":false}],
         "normalizer":null,
         "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},
         "post_processor":null,
         "decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true},
         "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":"",
          "end_of_word_suffix":"","fuse_unk":false,
          "vocab":{"a":0,"Ġ":1,"Ċ":2,"Ģ":3,"ğ":4,"Ġa":5,"ĠĠ":6,"\\\\":7,"n":8,"Ã©":10,"Ã":11},
          "merges":["Ġ a","Ġ Ġ"]}}
        """);
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      String[] expected = {
        "'a'",
        "' '",
        "'\\n'",
        "'\\x80'",
        "'\\u001f'",
        "' a'",
        "'  '",
        "'\\\\'",
        "'n'",
        "'  ' (9)",
        "'é'",
        "'\\xc3'"
      };
      for (int id = 0; id < expected.length; id++) {
        assertThat(tokenizer.show(id)).isEqualTo(expected[id]);
      }
      String[] texts = {
        "a", " ", "\n", "\uFFFD", "\u001f", " a", "  ", "\\", "n", "  ", "é", "\uFFFD"
      };
      for (int id = 0; id < texts.length; id++) {
        assertThat(tokenizer.text(id)).as("%s", id).isEqualTo(texts[id]);
      }
    }
  }
}
