package org.autocircuit.tokenizer;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.autocircuit.internal.JsonFiles;

/**
 * A vocabulary of whole words, for models trained on a small language. {@link #write} makes the
 * files from which {@link Tokenizer} and Hugging Face's tokenizers read the same vocabulary; {@link
 * #ids} gives the same ids without native code. Immutable, safe to share between threads.
 *
 * <p>A text falls into words (letters, digits and underscores) and runs of other characters; white
 * space separates and is not kept. Ids count from 0: {@link #END_OF_TEXT}, {@link #UNKNOWN}, then
 * the words in the order given.
 */
public final class WordLevelVocabulary {

  /** The token that begins and ends a sequence; always id 0. */
  public static final String END_OF_TEXT = "<|endoftext|>";

  /** The token that stands for every other word; always id 1. */
  public static final String UNKNOWN = "<|unk|>";

  // Matches the words that the pre-tokenizer "Whitespace" of tokenizer.json cuts out, for ASCII.
  private static final Pattern WORD = Pattern.compile("\\w+|[^\\w\\s]+");

  private final Map<String, Integer> ids = new LinkedHashMap<>();

  /**
   * Numbers the words.
   *
   * @param words each at most once, in the order of their ids
   * @throws IllegalArgumentException if a word appears twice, or is no word that a text could fall
   *     into: empty, not ASCII, with white space, or letters and punctuation mixed
   */
  public WordLevelVocabulary(Collection<String> words) {
    ids.put(END_OF_TEXT, 0);
    ids.put(UNKNOWN, 1);
    for (String word : words) {
      if (!WORD.matcher(word).matches() || !word.chars().allMatch(c -> c < 128)) {
        throw new IllegalArgumentException("\"" + word + "\" is not one ASCII word");
      }
      if (ids.put(word, ids.size()) != null) {
        throw new IllegalArgumentException("\"" + word + "\" appears twice");
      }
    }
  }

  /** Number of tokens, the two special ones included. */
  public int size() {
    return ids.size();
  }

  /** All tokens in the order of their ids. */
  public List<String> tokens() {
    return List.copyOf(ids.keySet());
  }

  /** Id of {@link #END_OF_TEXT}. */
  public long endOfText() {
    return 0;
  }

  /** Returns whether the vocabulary has this word. */
  public boolean contains(String word) {
    return ids.containsKey(word);
  }

  /**
   * Ids of a text's words, without special tokens.
   *
   * @throws IllegalArgumentException naming a word that the vocabulary lacks
   */
  public long[] ids(String text) {
    List<Long> found = new ArrayList<>();
    Matcher matcher = WORD.matcher(text);
    while (matcher.find()) {
      Integer id = ids.get(matcher.group());
      if (id == null) {
        throw new IllegalArgumentException(
            "\"%s\" of \"%s\" is not in the vocabulary".formatted(matcher.group(), text));
      }
      found.add(id.longValue());
    }
    return found.stream().mapToLong(Long::longValue).toArray();
  }

  /**
   * Writes {@code tokenizer.json}, {@code tokenizer_config.json} and {@code
   * special_tokens_map.json}.
   *
   * @param folder the model folder; made if need be
   * @param addBos whether prompts shall begin with {@link #END_OF_TEXT}
   * @throws org.autocircuit.exception.CheckpointException if writing fails
   */
  public void write(Path folder, boolean addBos) {
    ObjectNode special = JsonNodeFactory.instance.objectNode();
    special.put("bos_token", END_OF_TEXT).put("eos_token", END_OF_TEXT).put("unk_token", UNKNOWN);
    ObjectNode config = JsonNodeFactory.instance.objectNode();
    config.put("tokenizer_class", "PreTrainedTokenizerFast").put("add_bos_token", addBos);
    config.setAll(special);
    JsonFiles.writeFolder(
        folder,
        Tokenizer.FILE_NAME,
        beside -> {
          JsonFiles.write(beside.resolve(Tokenizer.FILE_NAME), tokenizer(addBos));
          JsonFiles.write(beside.resolve("special_tokens_map.json"), special);
          JsonFiles.write(beside.resolve("tokenizer_config.json"), config);
        });
  }

  private ObjectNode tokenizer(boolean addBos) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("version", "1.0").putNull("truncation").putNull("padding");
    for (String token : List.of(END_OF_TEXT, UNKNOWN)) {
      json.withArray("added_tokens")
          .addObject()
          .put("id", ids.get(token))
          .put("content", token)
          .put("single_word", false)
          .put("lstrip", false)
          .put("rstrip", false)
          .put("normalized", false)
          .put("special", true);
    }
    json.putNull("normalizer").putObject("pre_tokenizer").put("type", "Whitespace");
    if (addBos) {
      putTemplate(json.putObject("post_processor"));
    } else {
      json.putNull("post_processor");
    }
    // Joins words by spaces, then takes back the space before punctuation.
    json.putObject("decoder").put("type", "WordPiece").put("prefix", "##").put("cleanup", true);
    ObjectNode model = json.putObject("model").put("type", "WordLevel");
    ids.forEach(model.putObject("vocab")::put);
    model.put("unk_token", UNKNOWN);
    return json;
  }

  /**
   * So that Hugging Face's own reader, which ignores add_bos_token here, adds the token as well.
   */
  private static void putTemplate(ObjectNode processor) {
    processor.put("type", "TemplateProcessing");
    for (String template : List.of("single", "pair")) {
      putPiece(processor, template, "SpecialToken", END_OF_TEXT, 0);
      putPiece(processor, template, "Sequence", "A", 0);
    }
    putPiece(processor, "pair", "Sequence", "B", 1);
    ObjectNode token = processor.putObject("special_tokens").putObject(END_OF_TEXT);
    token.put("id", END_OF_TEXT);
    token.putArray("ids").add(0);
    token.putArray("tokens").add(END_OF_TEXT);
  }

  private static void putPiece(
      ObjectNode processor, String template, String kind, String id, int type) {
    processor.withArray(template).addObject().putObject(kind).put("id", id).put("type_id", type);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof WordLevelVocabulary that && tokens().equals(that.tokens());
  }

  @Override
  public int hashCode() {
    return tokens().hashCode();
  }

  @Override
  public String toString() {
    return "WordLevelVocabulary[" + size() + " tokens]";
  }
}
