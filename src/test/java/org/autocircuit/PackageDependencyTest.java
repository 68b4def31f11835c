package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/**
 * The arrows between packages, and those between C++ folders, point one way, and native methods are
 * in one place.
 */
class PackageDependencyTest {

  private static final Path SOURCES = Path.of("src/main/java/org/autocircuit");
  private static final String ROOT = "";

  /** Each package uses only those that come after it. */
  private static final List<String> FROM_THE_TOP =
      List.of(
          "cli",
          "explore",
          "report",
          "train",
          "serve",
          "text",
          "eval",
          "prune",
          "metrics",
          "generate",
          ROOT,
          "mode",
          "sae",
          "internal.run",
          "attribution",
          "pass",
          "patch",
          "known",
          "internal.http",
          "data",
          "graph",
          "tokenizer",
          "checkpoint",
          "model",
          "internal",
          "internal.jfr",
          "internal.jni",
          "exception");

  private static final Path CPP_SOURCES = Path.of("src/main/cpp/autocircuit");

  /** Each C++ folder includes only itself and those that come after it. */
  private static final List<String> CPP_FROM_THE_TOP =
      List.of("bridge", "attribution", "engine", "patch", "model", "ops", "kernels", "memory");

  private static final Pattern COMMENT = Pattern.compile("/\\*.*?\\*/|//[^\n]*", Pattern.DOTALL);
  private static final Pattern STRING =
      Pattern.compile("\"\"\".*?\"\"\"|\"(?:\\\\.|[^\"\\\\\n])*\"", Pattern.DOTALL);
  private static final Pattern USE =
      Pattern.compile("\\borg\\.autocircuit((?:\\.[a-z]\\w*)*)\\.([A-Z]\\w*)");
  private static final Pattern INCLUDE =
      Pattern.compile("^#include \"(?:autocircuit/(\\w+)/)?[^\"]*\"", Pattern.MULTILINE);
  private static final Pattern NATIVE_METHOD = Pattern.compile("\\bnative\\b[^;{}]*\\)[^;{}]*;");

  @Test
  void packagesUseOnlyThoseBelowThem() throws IOException {
    List<String> violations = new ArrayList<>();
    for (Path file : sources()) {
      String from = packageOf(file);
      assertThat(FROM_THE_TOP).contains(from);
      Matcher use = USE.matcher(code(file));
      while (use.find()) {
        String to = use.group(1).isEmpty() ? ROOT : use.group(1).substring(1);
        assertThat(FROM_THE_TOP).contains(to);
        if (FROM_THE_TOP.indexOf(to) < FROM_THE_TOP.indexOf(from)) {
          violations.add(SOURCES.relativize(file) + " uses " + use.group());
        }
      }
    }
    assertThat(violations).isEmpty();
  }

  @Test
  void cppFoldersIncludeOnlyThoseBelowThem() throws IOException {
    List<String> violations = new ArrayList<>();
    for (Path file : filesOf(CPP_SOURCES, ".h", ".cpp")) {
      String from = CPP_SOURCES.relativize(file).getName(0).toString();
      assertThat(CPP_FROM_THE_TOP).contains(from);
      Matcher include = INCLUDE.matcher(Files.readString(file));
      while (include.find()) {
        assertThat(CPP_FROM_THE_TOP).as(file + ": " + include.group()).contains(include.group(1));
        if (CPP_FROM_THE_TOP.indexOf(include.group(1)) < CPP_FROM_THE_TOP.indexOf(from)) {
          violations.add(CPP_SOURCES.relativize(file) + ": " + include.group());
        }
      }
    }
    assertThat(violations).isEmpty();
  }

  @Test
  void onlyWhatOneBeginsWithIsInTheRootPackage() throws IOException {
    assertThat(
            sources().stream()
                .filter(file -> packageOf(file).equals(ROOT))
                .filter(file -> !file.endsWith("package-info.java")))
        .hasSizeLessThan(6);
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
    return filesOf(SOURCES, ".java");
  }

  private static List<Path> filesOf(Path folder, String... endings) throws IOException {
    try (Stream<Path> files = Files.walk(folder)) {
      return files
          .filter(file -> Stream.of(endings).anyMatch(file.getFileName().toString()::endsWith))
          .toList();
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
