package org.autocircuit;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/**
 * A tokenizer as SentencePiece-style models have it, with few pieces: a text gets a leading "▁",
 * spaces become "▁", and bytes stand in for what has no piece.
 */
public final class SentencePieceTokenizer {

  /** Pieces of more than one letter, each with the two that merge into it. */
  private static final String[][] MERGES = {
    {"h", "e"}, {"▁", "t"}, {"▁t", "o"}, {"▁", "s"}, {"▁", "S"}, {"▁S", "he"}, {"▁", "H"},
    {"▁H", "e"}, {"▁", "a"}, {"▁", "L"}, {"▁L", "i"}, {"▁T", "i"}, {"▁", "T"}, {"▁T", "he"},
    {"i", "n"}, {"in", "g"}
  };

  private static final String LETTERS = "▁abcdefghilmnoprstuvwyLSHTM.,'5";

  private SentencePieceTokenizer() {}

  /** Writes tokenizer.json and tokenizer_config.json; returns the number of tokens. */
  public static int write(Path folder) throws IOException {
    StringBuilder vocabulary = new StringBuilder("\"<unk>\":0,\"<s>\":1,\"</s>\":2");
    int next = 3;
    for (int value = 0; value < 256; value++) {
      vocabulary.append(String.format(Locale.ROOT, ",\"<0x%02X>\":%s", value, next++));
    }
    for (String letter : LETTERS.split("")) {
      vocabulary.append(",\"%s\":%s".formatted(letter, next++));
    }
    StringBuilder merges = new StringBuilder();
    for (String[] merge : MERGES) {
      vocabulary.append(",\"%s%s\":%s".formatted(merge[0], merge[1], next++));
      merges.append(merges.length() == 0 ? "" : ",");
      merges.append("\"%s %s\"".formatted(merge[0], merge[1]));
    }
    String added =
        "{\"id\":%s,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
            + "\"normalized\":false,\"special\":true}";
    Files.createDirectories(folder);
    Files.writeString(
        folder.resolve("tokenizer.json"),
        """
        {"version":"1.0","truncation":null,"padding":null,"added_tokens":[%s,%s,%s],
         "normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
          {"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
         "pre_tokenizer":null,"post_processor":null,
         "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},
          "content":" "},{"type":"ByteFallback"},{"type":"Fuse"},
          {"type":"Strip","content":" ","start":1,"stop":0}]},
         "model":{"type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":null,
          "end_of_word_suffix":null,"fuse_unk":true,"byte_fallback":true,"ignore_merges":false,
          "vocab":{%s},"merges":[%s]}}
        """
            .formatted(
                added.formatted(0, "<unk>"),
                added.formatted(1, "<s>"),
                added.formatted(2, "</s>"),
                vocabulary,
                merges));
    Files.writeString(
        folder.resolve("tokenizer_config.json"),
        "{\"add_bos_token\": true, \"bos_token\": \"<s>\"}");
    return next;
  }
}
