package org.autocircuit.internal;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.autocircuit.exception.CheckpointException;

/** Says what is at the place of a model's file instead of it, and what to do. */
public final class UnreadableFiles {

  private static final int BEGIN = 4096;
  private static final int SHOWN = 60;
  private static final String POINTER = "version https://git-lfs";
  private static final Pattern TITLE =
      Pattern.compile("<title[^>]*>([^<]*)", Pattern.CASE_INSENSITIVE);

  private UnreadableFiles() {}

  /** Returns whether a link is there whose target is not. */
  public static boolean isDangling(Path file) {
    return Files.isSymbolicLink(file) && !Files.exists(file);
  }

  /** Why a file that is expected cannot be opened. */
  public static CheckpointException missing(Path file) {
    if (isDangling(file)) {
      return new CheckpointException(
          "%s: %s; copy files, not links, or download it once more"
              .formatted(file, dangling(file)));
    }
    return new CheckpointException(
        "%s: %s"
            .formatted(
                file, Files.isDirectory(file) ? "a folder, expected a file" : "no such file"));
  }

  /** Returns what a link is whose target is not there. */
  public static String dangling(Path link) {
    try {
      return "a link to %s, where nothing is".formatted(Files.readSymbolicLink(link));
    } catch (IOException e) {
      return "a link to nothing";
    }
  }

  /**
   * Refuses what servers and tools leave in a file's place.
   *
   * @param begin the file's first bytes, or all
   */
  public static void refuse(Path file, byte[] begin) {
    String text = text(begin);
    if (text.isEmpty()) {
      throw new CheckpointException("%s: an empty file; download it once more".formatted(file));
    }
    if (text.startsWith(POINTER)) {
      throw new CheckpointException(
          "%s: a git-lfs pointer, expected the file itself; run \"git lfs pull\" in its folder"
              .formatted(file));
    }
    if (text.startsWith("<")) {
      Matcher title = TITLE.matcher(text);
      throw new CheckpointException(
          ("%s: a page in HTML or XML%s, expected the file itself; a server sent it instead of the"
                  + " file (is a login or a licence needed?): download it once more")
              .formatted(file, title.find() ? " (" + shown(title.group(1)) + ")" : ""));
    }
  }

  /**
   * As {@link #refuse}, and texts: the file should be binary.
   *
   * @param expected what kind of file
   */
  public static void refuseText(Path file, String expected) throws IOException {
    byte[] begin;
    try (InputStream in = Files.newInputStream(file)) {
      begin = in.readNBytes(BEGIN);
    }
    refuse(file, begin);
    if (isText(Arrays.copyOf(begin, Math.min(begin.length, 16)))) {
      throw new CheckpointException(
          "%s: text that begins with %s, expected %s; download it once more"
              .formatted(file, shown(text(begin)), expected));
    }
  }

  /** The names of a folder's files, sorted; none if it cannot be read. */
  public static List<String> names(Path folder) {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    } catch (IOException e) {
      return List.of();
    }
  }

  private static boolean isText(byte[] bytes) {
    for (byte b : bytes) {
      if (b < ' ' && b != '\n' && b != '\r' && b != '\t') {
        return false;
      }
    }
    return true;
  }

  private static String text(byte[] bytes) {
    String text = new String(bytes, 0, Math.min(bytes.length, BEGIN), StandardCharsets.UTF_8);
    return text.replaceFirst("^\\ufeff", "").strip();
  }

  private static String shown(String text) {
    String line = text.strip().lines().findFirst().orElse("");
    return "\"%s\""
        .formatted(VisibleText.of(line.length() > SHOWN ? line.substring(0, SHOWN) + "…" : line));
  }
}
