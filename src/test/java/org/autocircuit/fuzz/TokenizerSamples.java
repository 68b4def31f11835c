package org.autocircuit.fuzz;

import java.util.List;

/** Tokenizers of every kind that the families' folders have, with a few words each. */
final class TokenizerSamples {

  private static final String ADDED =
      """
      {"version":"1.0",
       "truncation":{"direction":"Right","max_length":512,"strategy":"LongestFirst","stride":0},
       "padding":{"strategy":{"Fixed":8},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,
        "pad_type_id":0,"pad_token":"<s>"},
       "added_tokens":[{"id":0,"content":"<s>","single_word":false,"lstrip":false,"rstrip":true,
        "normalized":false,"special":true},{"id":9,"content":"new","single_word":true,
        "lstrip":true,"rstrip":false,"normalized":true,"special":false}],
      """;

  private static final String WORDS =
      """
      "normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,
       "strip_accents":null,"lowercase":true},
      "pre_tokenizer":{"type":"BertPreTokenizer"},
      "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>",
        "type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A",
        "type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<s>":{"id":"<s>",
        "ids":[0],"tokens":["<s>"]}}},
      "decoder":{"type":"WordPiece","prefix":"##","cleanup":true},
      "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
       "max_input_chars_per_word":100,"vocab":{"<s>":0,"[UNK]":1,"mary":2,"##s":3,"and":4,"john":5,
       ",":6}}}
      """;

  private static final String LEVEL =
      """
      "normalizer":{"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"},
       {"type":"Lowercase"},{"type":"Strip","strip_left":true,"strip_right":true}]},
      "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Whitespace"},{"type":"Digits",
       "individual_digits":true},{"type":"Punctuation","behavior":"Isolated"}]},
      "post_processor":{"type":"BertProcessing","sep":["<s>",0],"cls":["<s>",0]},
      "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"a"},
       "content":"b"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},
      "model":{"type":"WordLevel","vocab":{"<s>":0,"[?]":1,"mary":2,"and":3,"john":4},
       "unk_token":"[?]"}}
      """;

  private static final String BYTES =
      """
      "normalizer":{"type":"NFC"},
      "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":
       "(?i:'s|'t)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|\\\\s+(?!\\\\S)|\\\\s+"},
       "behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,
       "trim_offsets":true,"use_regex":false}]},
      "post_processor":{"type":"Sequence","processors":[{"type":"ByteLevel","add_prefix_space":true,
       "trim_offsets":false,"use_regex":true},{"type":"RobertaProcessing","sep":["<s>",0],
       "cls":["<s>",0],"trim_offsets":true,"add_prefix_space":true}]},
      "decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
      "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":"",
       "end_of_word_suffix":"","fuse_unk":false,"byte_fallback":false,"ignore_merges":false,
       "vocab":{"<s>":0,"A":1,"n":2,"Ġ":3,"An":4,"ĠAn":5,"M":6,"a":7,"Ma":8},
       "merges":[["A","n"],["Ġ","An"],["M","a"]]}}
      """;

  private static final String SENTENCE_PIECE =
      """
      "normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
       {"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
      "pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false},
      "post_processor":null,
      "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},
       "content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Metaspace",
       "replacement":"▁","prepend_scheme":"always","split":true}]},
      "model":{"type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":null,
       "end_of_word_suffix":null,"fuse_unk":true,"byte_fallback":true,"ignore_merges":false,
       "vocab":{"<unk>":0,"<s>":1,"<0x41>":2,"▁":3,"M":4,"a":5,"▁M":6,"▁Ma":7},
       "merges":["▁ M","▁M a"]}}
      """;

  private TokenizerSamples() {}

  static List<String> all() {
    return List.of(ADDED + WORDS, ADDED + LEVEL, ADDED + BYTES, ADDED + SENTENCE_PIECE);
  }
}
