package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The arrows between packages point one way, and native methods are in one place. */
class PackageDependencyTest {

  private static final Path SOURCES = Path.of("src/main/java/org/autocircuit");
  private static final String ROOT = "";

  /** What each package may use besides itself and the exceptions of the root package. */
  private static final Map<String, Set<String>> MAY_USE =
      Map.ofEntries(
          Map.entry("internal.jni", Set.of()),
          Map.entry("internal.jfr", Set.of()),
          Map.entry("internal", Set.of("internal.jni")),
          Map.entry("model", Set.of("internal", "internal.jfr")),
          Map.entry("graph", Set.of("model")),
          Map.entry("data", Set.of("internal", "model", "graph")),
          Map.entry("patch", Set.of("internal", "model", "graph")),
          Map.entry(
              ROOT,
              Set.of(
                  "internal", "internal.jni", "internal.jfr", "model", "graph", "data", "patch")),
          Map.entry("prune", Set.of(ROOT, "internal", "model", "graph", "data", "patch")),
          Map.entry("eval", Set.of(ROOT, "internal", "model", "graph", "data", "patch", "prune")),
          Map.entry(
              "text", Set.of(ROOT, "internal", "model", "graph", "data", "patch", "prune", "eval")),
          Map.entry("train", Set.of(ROOT, "internal", "model", "data", "patch")),
          Map.entry(
              "report",
              Set.of(ROOT, "internal", "model", "graph", "data", "patch", "prune", "eval", "text")),
          Map.entry(
              "cli",
              Set.of(
                  ROOT,
                  "internal",
                  "model",
                  "graph",
                  "data",
                  "patch",
                  "prune",
                  "eval",
                  "text",
                  "report",
                  "train")));

  private static final Pattern COMMENT = Pattern.compile("/\\*.*?\\*/|//[^\n]*", Pattern.DOTALL);
  private static final Pattern STRING =
      Pattern.compile("\"\"\".*?\"\"\"|\"(?:\\\\.|[^\"\\\\\n])*\"", Pattern.DOTALL);
  private static final Pattern USE =
      Pattern.compile("\\borg\\.autocircuit((?:\\.[a-z]\\w*)*)\\.([A-Z]\\w*)");
  private static final Pattern NATIVE_METHOD = Pattern.compile("\\bnative\\b[^;{}]*\\)[^;{}]*;");

  @Test
  void packagesUseOnlyWhatTheyMay() throws IOException {
    List<String> violations = new ArrayList<>();
    for (Path file : sources()) {
      String from = packageOf(file);
      assertThat(MAY_USE).containsKey(from);
      Matcher use = USE.matcher(code(file));
      while (use.find()) {
        String to = use.group(1).isEmpty() ? ROOT : use.group(1).substring(1);
        boolean exception = to.equals(ROOT) && use.group(2).endsWith("Exception");
        if (!to.equals(from) && !exception && !MAY_USE.get(from).contains(to)) {
          violations.add(SOURCES.relativize(file) + " uses " + use.group());
        }
      }
    }
    assertThat(violations).isEmpty();
  }

  @Test
  void nativeMethodsAreInOneClass() throws IOException {
    Set<String> files = new TreeSet<>();
    for (Path file : sources()) {
      if (NATIVE_METHOD.matcher(code(file)).find()) {
        files.add(SOURCES.relativize(file).toString());
      }
    }
    assertThat(files).containsExactly("internal/jni/NativeLibrary.java");
  }

  @Test
  void everyPackageSaysItsJob() throws IOException {
    for (Path file : sources()) {
      assertThat(file.resolveSibling("package-info.java")).exists();
    }
  }

  private static List<Path> sources() throws IOException {
    try (Stream<Path> files = Files.walk(SOURCES)) {
      return files.filter(file -> file.toString().endsWith(".java")).toList();
    }
  }

  private static String packageOf(Path file) {
    return SOURCES.relativize(file.getParent()).toString().replace('/', '.');
  }

  private static String code(Path file) throws IOException {
    String text = STRING.matcher(Files.readString(file)).replaceAll("\"\"");
    return COMMENT.matcher(text).replaceAll("");
  }
}
