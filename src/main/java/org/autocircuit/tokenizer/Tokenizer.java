package org.autocircuit.tokenizer;

import ai.djl.huggingface.tokenizers.Encoding;
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.djl.huggingface.tokenizers.jni.CharSpan;
import java.io.IOException;
import java.lang.ref.Reference;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.function.Function;
import org.autocircuit.exception.AnswerException;
import org.autocircuit.exception.CheckpointException;
import org.autocircuit.internal.UnreadableFiles;
import org.autocircuit.internal.VisibleText;

/**
 * Text to tokens and back, by the {@code tokenizer.json} of a model folder.
 *
 * <pre>{@code
 * try (Tokenizer tokenizer = Tokenizer.load(folder)) {
 *   long[] prompt = tokenizer.encode("When Mary and John went to the store, John gave a drink to");
 *   long answer = tokenizer.answerToken("When Mary and John … a drink to", " Mary");
 * }
 * }</pre>
 *
 * <p><b>Beginning of sequence.</b> Whether prompts begin with the beginning-of-sequence token is
 * {@link #prependsBos()}: what {@code add_bos_token} of {@code tokenizer_config.json} says; where
 * it says nothing, whether the post-processor of {@code tokenizer.json} puts one first; else not.
 * {@link #encode(String, boolean)} overrides it for one prompt. The token itself is {@code
 * bos_token} of {@code tokenizer_config.json} or {@code special_tokens_map.json}, else {@code
 * bos_token_id} of {@code config.json}. Answers never get one ({@link #answerToken}). Apart from
 * {@link #encodeWithSpecialTokens} no other special token is added, nothing is truncated and
 * nothing is padded. A special token that is spelled out in a text is recognised as that token.
 *
 * <p><b>Ownership.</b> Holds native memory: close it. {@link #close()} waits for calls that are
 * running; later calls throw {@link IllegalStateException}. <b>Threads.</b> Any number of threads
 * may use one tokenizer at once. <b>Files that are no good.</b> What is malformed or not supported
 * is refused with a {@link CheckpointException} by {@link #load}, and what shows only with some
 * text, such as a word for which there is no token, by the call that meets it. Not every part of
 * the format is supported: native code ends the process over some damaged files, so only what the
 * model families use gets that far (no Unigram models, no precompiled normalizers). A regular
 * expression that a file brings along can be slow on purpose; files come from people one trusts.
 *
 * <p><b>Native library.</b> The work is done by the Hugging Face tokenizers library inside DJL,
 * which on first use unpacks its native library (15 MB) into {@code ~/.djl.ai/tokenizers}; the
 * environment variable or system property {@code DJL_CACHE_DIR} names another folder. No network is
 * used: DJL's telemetry and its download of a CUDA build are switched off during {@link #load},
 * unless the environment variables {@code OPT_OUT_TRACKING=false} or {@code RUST_FLAVOR} ask for
 * them, which DJL ranks above what a program sets. One class loader at a time can have DJL's native
 * library, and JNA, which DJL uses, keeps it from going: servers put both where applications share
 * them.
 */
public final class Tokenizer implements AutoCloseable {

  /** Name of the file inside a model folder. */
  public static final String FILE_NAME = "tokenizer.json";

  private static final long MAX_BYTES = 256L << 20;

  private final Path file;
  private final HuggingFaceTokenizer tokenizer;
  private final ReadWriteLock closing = new ReentrantReadWriteLock();
  private boolean closed;
  private final OptionalLong bosId;
  private final Vocabulary vocabulary;
  private final boolean prependsBos;

  private Tokenizer(Path file, HuggingFaceTokenizer tokenizer, TokenizerSettings settings) {
    this.file = file;
    this.tokenizer = tokenizer;
    this.bosId =
        settings.bosToken().isPresent()
            ? OptionalLong.of(singleId(settings.bosToken().get()))
            : settings.bosId();
    this.vocabulary = settings.vocabulary();
    this.prependsBos = settings.addBos().orElseGet(this::postProcessorPutsBosFirst);
    if (prependsBos && bosId.isEmpty()) {
      throw new CheckpointException(
          "%s: add_bos_token is true, but neither bos_token nor config.json's bos_token_id is set"
              .formatted(file.resolveSibling("tokenizer_config.json")));
    }
  }

  /**
   * Loads a tokenizer.
   *
   * @param folder a model folder with {@code tokenizer.json}, or that file itself; its neighbours
   *     {@code tokenizer_config.json}, {@code special_tokens_map.json} and {@code config.json} are
   *     read where they exist
   * @throws CheckpointException if the file is missing or malformed, or names a special token that
   *     it does not have
   * @throws IllegalStateException if DJL's native library cannot be unpacked or loaded
   */
  public static Tokenizer load(Path folder) {
    Path file = Files.isDirectory(folder) ? folder.resolve(FILE_NAME) : folder;
    if (!Files.isRegularFile(file)) {
      throw MissingTokenizer.at(file);
    }
    if (file.toString().endsWith(".gguf")) {
      throw new CheckpointException(
          "%s: tokenizers inside of GGUF files are not supported; expected the %s of the model that"
                  .formatted(file, FILE_NAME)
              + " the file was made from");
    }
    byte[] json;
    try {
      if (Files.size(file) > MAX_BYTES) {
        throw new CheckpointException(
            "%s: %s bytes, at most %s are read".formatted(file, Files.size(file), MAX_BYTES));
      }
      json = Files.readAllBytes(file);
    } catch (IOException e) {
      throw new CheckpointException("%s: cannot be read: %s".formatted(file, e), e);
    }
    UnreadableFiles.refuse(file, json);
    TokenizerSettings settings =
        TokenizerSettings.read(file.toAbsolutePath().getParent(), file, json);
    HuggingFaceTokenizer tokenizer = OfflineTokenizers.parse(file, json);
    try {
      return new Tokenizer(file, tokenizer, settings);
    } catch (RuntimeException e) {
      tokenizer.close();
      throw e;
    }
  }

  /** Returns whether {@link #encode(String)} puts the beginning-of-sequence token first. */
  public boolean prependsBos() {
    return prependsBos;
  }

  /** The beginning-of-sequence token, if the folder names one. */
  public OptionalLong bosId() {
    return bosId;
  }

  /** Tokens of a prompt, with the beginning-of-sequence token if {@link #prependsBos()}. */
  public long[] encode(String prompt) {
    return encode(prompt, prependsBos);
  }

  /**
   * Tokens of a prompt.
   *
   * @param prompt the text
   * @param prependBos whether the beginning-of-sequence token comes first
   * @throws IllegalStateException if one is asked for and the folder names none, or after close
   */
  public long[] encode(String prompt, boolean prependBos) {
    long[] ids = raw(prompt, false).getIds();
    if (!prependBos) {
      return ids;
    }
    long[] withBos = new long[ids.length + 1];
    withBos[0] =
        bosId.orElseThrow(
            () ->
                new IllegalStateException(
                    "%s: the model folder names no beginning-of-sequence token".formatted(file)));
    System.arraycopy(ids, 0, withBos, 1, ids.length);
    return withBos;
  }

  /**
   * Tokens as Hugging Face's {@code add_special_tokens=True} gives them: with whatever the
   * post-processor of {@code tokenizer.json} adds, and nothing else.
   */
  public long[] encodeWithSpecialTokens(String text) {
    return raw(text, true).getIds();
  }

  /**
   * Tokens of several prompts that must come out equally long, as a batch needs them.
   *
   * @param prompts the texts
   * @param prependBos whether the beginning-of-sequence token comes first in each
   * @return {@code [prompts][seq]}
   * @throws IllegalArgumentException naming the first prompt whose length differs
   */
  public long[][] encodeBatch(List<String> prompts, boolean prependBos) {
    long[][] batch = new long[prompts.size()][];
    for (int i = 0; i < batch.length; i++) {
      batch[i] = encode(prompts.get(i), prependBos);
      if (batch[i].length != batch[0].length) {
        throw new IllegalArgumentException(
            "prompts of one batch must have the same number of tokens: \"%s\" has %s, \"%s\" has %s"
                .formatted(prompts.get(0), batch[0].length, prompts.get(i), batch[i].length));
      }
    }
    return batch;
  }

  /**
   * The one token of a text that stands alone, without a beginning-of-sequence token. After a
   * prompt the same text can be another token: see {@link #answerToken(String, String)}.
   *
   * @throws IllegalArgumentException if the answer is not exactly one token (the message lists
   *     them) or is not in the vocabulary
   */
  public long answerToken(String answer) {
    Encoding encoding = raw(answer, false);
    long[] ids = encoding.getIds();
    if (ids.length != 1) {
      throw new IllegalArgumentException(
          "answer \"%s\" must be a single token, but is %s: %s"
              .formatted(answer, ids.length, Arrays.toString(encoding.getTokens())));
    }
    if (vocabulary.isUnknown(ids[0]) && !answer.strip().equals(encoding.getTokens()[0])) {
      throw new IllegalArgumentException(
          "answer \"%s\" is not in the vocabulary of %s".formatted(answer, file));
    }
    return ids[0];
  }

  /**
   * The one token that continues a prompt as an answer does: what the tokens of prompt and answer
   * have beyond those of the prompt. Byte-level and SentencePiece-style vocabularies tell {@code "
   * Mary"} from {@code "Mary"}.
   *
   * @throws AnswerException if that is not exactly one token, if the prompt's own tokens change
   *     where the answer follows, or if the answer is not in the vocabulary; the message lists the
   *     tokens
   */
  public long answerToken(String prompt, String answer) {
    long[] before = encode(prompt, false);
    long[] after = encode(prompt + answer, false);
    int same = Arrays.mismatch(before, after);
    if (same >= 0 && same < before.length) {
      throw new AnswerException(
          "\"%s\" changes the prompt's own tokens from %s to %s"
              .formatted(VisibleText.of(answer), show(before), show(after)),
          false);
    }
    long[] rest = Arrays.copyOfRange(after, before.length, after.length);
    if (rest.length != 1) {
      throw new AnswerException(
          "\"%s\" is %s tokens after the prompt, expected one: %s"
              .formatted(VisibleText.of(answer), rest.length, show(rest)),
          true);
    }
    if (vocabulary.isUnknown(rest[0]) && !unknownWords(answer).isEmpty()) {
      throw new AnswerException(
          "\"%s\" is not in the vocabulary".formatted(VisibleText.of(answer)), false);
    }
    return rest[0];
  }

  /** The words of a text for which the vocabulary has nothing but the unknown token, in order. */
  public List<String> unknownWords(String text) {
    Encoding encoding = raw(text, false);
    List<String> words = new ArrayList<>();
    for (int i = 0; i < encoding.getIds().length; i++) {
      if (vocabulary.isUnknown(encoding.getIds()[i])) {
        CharSpan span = encoding.getCharTokenSpans()[i];
        String word = span == null ? "" : substring(text, span.getStart(), span.getEnd());
        if (!word.strip().equals(vocabulary.unknown().orElse(""))) {
          words.add(word);
        }
      }
    }
    return words;
  }

  /** Spans count characters of Unicode. */
  private static String substring(String text, int begin, int end) {
    return text.codePoints()
        .skip(begin)
        .limit(end - begin)
        .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
        .toString();
  }

  /**
   * Returns whether a space is part of tokens. If not, as in vocabularies of whole words, {@code "
   * Mary"} and {@code "Mary"} are the same.
   */
  public boolean keepsSpaces() {
    return !Arrays.equals(encode("a a", false), encode("a  a", false));
  }

  /** The token that the vocabulary spells so ({@code "▁s"}), if it has one. */
  public OptionalLong id(String spelling) {
    return vocabulary.id(spelling);
  }

  /** Returns whether the vocabulary has a token with this id. */
  public boolean hasToken(long id) {
    return vocabulary.has(id);
  }

  /** The spelling of the token that stands for unknown words, if there is one. */
  public Optional<String> unknownToken() {
    return vocabulary.unknown();
  }

  /** Returns whether a token is that of unknown words. */
  public boolean isUnknown(long id) {
    return vocabulary.isUnknown(id);
  }

  /** Returns whether a token is a special one, such as that of the beginning of a sequence. */
  public boolean isSpecial(long id) {
    return vocabulary.isSpecial(id);
  }

  /**
   * Returns whether a token is one byte of a character that the vocabulary has no token for, as
   * SentencePiece-style vocabularies spell it ({@code <0xE2>}). Such bytes give text only with all
   * that stand beside them. In byte-level vocabularies no token is.
   */
  public boolean isByte(long id) {
    return vocabulary.isByte(id);
  }

  /**
   * A token for people to read, in quotation marks: its text in byte-level vocabularies ({@code '
   * there'}), else as the vocabulary spells it ({@code '▁there'}), with what does not show escaped.
   * Different tokens never read alike.
   */
  public String show(long id) {
    return vocabulary.show(id);
  }

  /**
   * The text of one token as it stands within a text, with its leading space where the vocabulary
   * spells one. Half a character reads {@code U+FFFD}; ids that the vocabulary lacks give no text.
   * {@link #decode(long...)} takes a token for the beginning of a text, where some vocabularies
   * drop the space.
   */
  public String text(long id) {
    return vocabulary.text(id);
  }

  /** Tokens for people to read, as a list. */
  public String show(long[] ids) {
    return Arrays.stream(ids).mapToObj(this::show).toList().toString();
  }

  /**
   * A text cut into tokens, each spelled as in the vocabulary (in byte-level vocabularies a leading
   * space reads {@code Ġ}). No special token is added.
   */
  public List<String> tokens(String text) {
    return List.of(raw(text, false).getTokens());
  }

  /** The text of tokens, special ones included. Ids that the vocabulary lacks give no text. */
  public String decode(long... ids) {
    return decode(ids, false);
  }

  /**
   * The text of tokens. Ids that the vocabulary lacks give no text.
   *
   * @param ids the tokens
   * @param skipSpecialTokens whether special tokens are left out
   * @throws IllegalArgumentException if an id is negative or above 2^32 - 1
   */
  public String decode(long[] ids, boolean skipSpecialTokens) {
    for (long id : ids) {
      if (id < 0 || id > 0xFFFF_FFFFL) {
        throw new IllegalArgumentException("token id " + id + " is out of range");
      }
    }
    return call(open -> open.decode(ids, skipSpecialTokens));
  }

  /**
   * Frees the native tokenizer once the calls that are running have ended. Closing twice is fine.
   */
  @Override
  public void close() {
    closing.writeLock().lock();
    try {
      closed = true;
      tokenizer.close();
    } finally {
      closing.writeLock().unlock();
    }
  }

  @Override
  public String toString() {
    return "Tokenizer[" + file + "]";
  }

  private Encoding raw(String text, boolean addSpecialTokens) {
    Objects.requireNonNull(text, "text");
    return call(open -> open.encode(text, addSpecialTokens, false));
  }

  private <R> R call(Function<HuggingFaceTokenizer, R> action) {
    closing.readLock().lock();
    try {
      if (closed) {
        throw new IllegalStateException("the tokenizer of " + file + " is closed");
      }
      try {
        return action.apply(tokenizer);
      } catch (RuntimeException e) {
        throw new CheckpointException(
            "%s: the tokenizer fails: %s".formatted(file, e.getMessage()), e);
      }
    } finally {
      // DJL frees the native object when its Java object is collected, even under a running call.
      Reference.reachabilityFence(tokenizer);
      closing.readLock().unlock();
    }
  }

  private long singleId(String specialToken) {
    long[] ids = raw(specialToken, false).getIds();
    if (ids.length != 1) {
      throw new CheckpointException(
          "%s: special token %s is not one token of the vocabulary, but %s"
              .formatted(file, specialToken, ids.length));
    }
    return ids[0];
  }

  private boolean postProcessorPutsBosFirst() {
    long[] ids = raw("", true).getIds();
    return bosId.isPresent() && ids.length > 0 && ids[0] == bosId.getAsLong();
  }
}
