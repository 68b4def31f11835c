package org.autocircuit.cli;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.autocircuit.prune.PruneScores;
import picocli.CommandLine.Model.CommandSpec;

/** Says what a result was made by and from, so that it can be made once more. */
final class RunFacts {

  /** Larger models are not read a second time for a hash. */
  private static final long MOST_BYTES = 1L << 30;

  private static final DateTimeFormatter TIME =
      DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm 'UTC'", Locale.ROOT).withZone(ZoneOffset.UTC);

  private RunFacts() {}

  /** The command as it was typed, options of a file among it, quoted for a shell. */
  static String command(CommandSpec spec) {
    return Stream.concat(
            Stream.of(spec.root().name()),
            spec.root().commandLine().getParseResult().originalArgs().stream()
                .map(RunFacts::quoted))
        .collect(Collectors.joining(" "));
  }

  /** The command and the version, by names that files have for them. */
  static Map<String, String> of(CommandSpec spec) {
    Map<String, String> facts = new LinkedHashMap<>();
    facts.put("command", command(spec));
    facts.put("version", version());
    return facts;
  }

  /** The version of this program and of Java. */
  static String version() {
    return String.join(", ", new Version().getVersion());
  }

  /** The command, the date and the version, by their names. */
  static Map<String, String> ofRun(CommandSpec spec) {
    Map<String, String> facts = new LinkedHashMap<>();
    facts.put("command", command(spec));
    facts.put("date", TIME.format(Instant.now()));
    facts.put("version", version());
    return facts;
  }

  /** SHA-256 of the model's files, by what each is of. */
  static Map<String, String> hashes(Path model) throws IOException {
    Map<String, String> hashes = new LinkedHashMap<>();
    List<Path> files = modelFiles(model);
    long bytes = 0;
    for (Path file : files) {
      bytes += Files.size(file);
    }
    for (Path file : bytes <= MOST_BYTES ? files : List.<Path>of()) {
      hashes.put("SHA-256 of " + file.getFileName(), hash(file));
    }
    return hashes;
  }

  /** SHA-256 of all of a model's files together, however large they are. */
  static String hashOfModel(Path model) throws IOException {
    MessageDigest all = digest();
    for (Path file : modelFiles(model)) {
      all.update((file.getFileName() + " " + hash(file) + "\n").getBytes(StandardCharsets.UTF_8));
    }
    return HexFormat.of().formatHex(all.digest());
  }

  /** SHA-256 of scores. */
  static String hash(PruneScores scores) {
    ByteBuffer values = ByteBuffer.allocate(Double.BYTES * scores.size());
    values.asDoubleBuffer().put(scores.toArray());
    MessageDigest digest = digest();
    digest.update(values.array());
    return HexFormat.of().formatHex(digest.digest());
  }

  private static List<Path> modelFiles(Path model) throws IOException {
    try (Stream<Path> all = Files.isDirectory(model) ? Files.list(model) : Stream.of(model)) {
      return all.filter(RunFacts::isModel).sorted().toList();
    }
  }

  private static boolean isModel(Path file) {
    String name = file.getFileName().toString();
    return Files.isRegularFile(file)
        && (name.equals("config.json")
            || name.equals("tokenizer.json")
            || name.endsWith(".safetensors")
            || name.endsWith(".gguf"));
  }

  private static String hash(Path file) throws IOException {
    MessageDigest digest = digest();
    byte[] buffer = new byte[1 << 16];
    try (InputStream stream = Files.newInputStream(file)) {
      for (int n = stream.read(buffer); n >= 0; n = stream.read(buffer)) {
        digest.update(buffer, 0, n);
      }
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  static MessageDigest digest() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java has SHA-256", e);
    }
  }

  private static String quoted(String word) {
    return word.matches("[\\w@%+=:,./-]+") ? word : "'" + word.replace("'", "'\\''") + "'";
  }
}
