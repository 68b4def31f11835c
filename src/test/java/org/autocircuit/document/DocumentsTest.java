package org.autocircuit.document;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** Everything that documents name exists, and every program that they quote is one of the tests. */
class DocumentsTest {

  private static final Pattern FILE =
      Pattern.compile("(?<![\\w/.-])((?:native-build|src|\\.ci)/[\\w./-]*\\w)");
  private static final Pattern TEST = Pattern.compile("-Dtest=(\\w+)");
  private static final Pattern MAIN_CLASS = Pattern.compile("-Dbenchmark\\.class=([\\w.]+)");
  private static final Pattern PROPERTY = Pattern.compile("-D(autocircuit\\.[\\w.-]+)");
  private static final Pattern OPTION = Pattern.compile("(?<![\\w-])(--[a-z][a-z-]+)");
  private static final Pattern SOURCE = Pattern.compile("\\w+\\.(java|cpp|h|sh|py)");
  private static final Pattern TYPE =
      Pattern.compile("^(?:new )?([A-Z]\\w*[a-z]\\w*)(?:\\.(\\w+))?(?![\\w->:])");

  /** Packages whose types documents mention without saying so. */
  private static final List<String> FOREIGN =
      List.of(
          "java.lang.",
          "java.util.",
          "java.io.",
          "org.bytedeco.pytorch.",
          "org.bytedeco.javacpp.",
          "java.lang.System$");

  /** Words in code style that only look like types, or are those of another library. */
  private static final List<String> NOT_JAVA = List.of("Resid", "HookedTransformer");

  @Test
  void readmeIsShort() {
    Document readme = Document.read(Path.of("README.md"));
    assertThat(readme.text().lines()).hasSizeLessThanOrEqualTo(150);
    assertThat(readme.text().split("\\s+")).hasSizeLessThanOrEqualTo(1200);
  }

  @Test
  void longFilesHaveTheirReasonInTheDesign() throws IOException {
    Set<String> reasons = new TreeSet<>();
    String section =
        Files.readString(Path.of("src/site/markdown/design.md")).split("## Long files")[1];
    Matcher rows = Pattern.compile("(?m)^\\| `([\\w.]+)` \\| \\w").matcher(section);
    while (rows.find()) {
      reasons.add(rows.group(1));
    }
    Set<String> longer = new TreeSet<>();
    try (Stream<Path> files = Files.walk(Path.of("src"))) {
      for (Path file : (Iterable<Path>) files::iterator) {
        String name = file.getFileName().toString();
        if (SOURCE.matcher(name).matches() && Files.readAllLines(file).size() > 400) {
          longer.add(name);
        }
      }
    }
    assertThat(longer).isEqualTo(reasons);
  }

  @Test
  void linksLeadSomewhere() {
    List<String> broken = new ArrayList<>();
    for (Document document : Document.all()) {
      for (String link : document.relativeLinks()) {
        String[] parts = link.split("#", 2);
        Path target =
            parts[0].isEmpty()
                ? document.path()
                : document.path().resolveSibling(parts[0]).normalize();
        if (parts[0].startsWith("images/")) {
          target = Path.of("src/site/resources").resolve(parts[0]);
        }
        boolean there =
            Files.exists(target)
                && (parts.length == 1 || Document.read(target).anchors().contains(parts[1]));
        if (!there && !parts[0].startsWith("apidocs/")) {
          broken.add(document.path() + ": " + link);
        }
      }
    }
    assertThat(broken).isEmpty();
  }

  @Test
  void filesExist() {
    assertThat(unknown(FILE, file -> Files.exists(Path.of(file)))).isEmpty();
  }

  @Test
  void testsAndBenchmarksExist() throws IOException {
    Map<String, Path> types = types();
    assertThat(unknown(TEST, types::containsKey)).isEmpty();
    assertThat(unknown(MAIN_CLASS, DocumentsTest::isClass)).isEmpty();
  }

  @Test
  void propertiesAndOptionsExist() throws IOException {
    String sources = Files.readString(Path.of("pom.xml"));
    String scripts = "";
    for (Path file : files("src/main/java", "src/test/java")) {
      sources += Files.readString(file);
    }
    for (Path file : files("native-build")) {
      scripts += Files.readString(file);
    }
    String code = sources;
    String all = sources + scripts + "--help --version --test-dir";
    assertThat(unknown(PROPERTY, property -> code.contains(property))).isEmpty();
    assertThat(unknown(OPTION, option -> all.contains(option))).isEmpty();
  }

  /** A file in code style without its folder is one of the project's. */
  @Test
  void sourceFilesExist() throws IOException {
    Set<String> names = new TreeSet<>();
    for (Path file : files("src/main", "src/test", "native-build")) {
      names.add(file.getFileName().toString());
    }
    for (Document document : Document.all()) {
      assertThat(document.code().stream().filter(code -> SOURCE.matcher(code).matches()))
          .as("%s", document.path())
          .allMatch(names::contains);
    }
  }

  /**
   * A type in code style is one of ours, of Java or of the presets, and has what follows its dot.
   */
  @Test
  void typesAndTheirMembersExist() throws IOException {
    Map<String, Path> types = types();
    String cpp = "";
    for (Path file : files("src/main/cpp")) {
      cpp += Files.readString(file);
    }
    String declared = cpp;
    List<String> unknown = new ArrayList<>();
    for (Document document : Document.all()) {
      for (String code : document.code()) {
        Matcher matcher = TYPE.matcher(code);
        if (!matcher.find() || NOT_JAVA.contains(matcher.group(1))) {
          continue;
        }
        Path file = types.get(matcher.group(1));
        String member = matcher.group(2);
        boolean there =
            file == null
                ? FOREIGN.stream().anyMatch(prefix -> isClass(prefix + matcher.group(1)))
                    || declared.contains("class " + matcher.group(1) + " ")
                    || declared.contains("struct " + matcher.group(1) + " ")
                : member == null
                    || member.equals("java")
                    || Files.readString(file).matches("(?s).*\\b" + member + "\\b.*")
                    || types.containsKey(member);
        if (!there) {
          unknown.add(document.path() + ": " + code);
        }
      }
    }
    assertThat(unknown).isEmpty();
  }

  @Test
  void quotedProgramsAreThoseOfTheTests() throws IOException {
    int quotes = 0;
    for (Document document : Document.all()) {
      for (Document.Quote quote : document.quotes()) {
        assertThat(quote.file()).exists();
        assertThat(Files.readString(quote.file())).as("%s", document.path()).contains(quote.code());
        quotes++;
      }
      assertThat(document.blocks())
          .as("every block of Java in %s says which file it is from", document.path())
          .filteredOn(block -> block.startsWith("```java"))
          .hasSameSizeAs(
              document.quotes().stream()
                  .filter(quote -> quote.file().toString().endsWith(".java"))
                  .toList());
    }
    assertThat(quotes).isPositive();
    String all = String.join("", Document.all().stream().map(Document::text).toList());
    assertThat(files("src/test/java/org/autocircuit/examples"))
        .filteredOn(file -> !file.toString().matches(".*(Test|package-info)\\.java"))
        .allMatch(file -> all.contains("<!-- from " + file + " -->"));
  }

  private interface Known {
    boolean test(String name);
  }

  private static List<String> unknown(Pattern pattern, Known known) {
    return Document.all().stream()
        .flatMap(
            document ->
                pattern
                    .matcher(document.text())
                    .results()
                    .filter(match -> !known.test(match.group(1)))
                    .map(match -> document.path() + ": " + match.group()))
        .toList();
  }

  /** Files by the names of the types that they declare first. */
  private static Map<String, Path> types() throws IOException {
    Map<String, Path> types = new HashMap<>();
    for (Path file : files("src/main/java", "src/test/java")) {
      types.put(file.getFileName().toString().replace(".java", ""), file);
    }
    return types;
  }

  private static List<Path> files(String... folders) throws IOException {
    List<Path> files = new ArrayList<>();
    for (String folder : folders) {
      try (Stream<Path> found = Files.walk(Path.of(folder))) {
        found.filter(Files::isRegularFile).filter(file -> isText(file)).forEach(files::add);
      }
    }
    return files;
  }

  private static boolean isText(Path file) {
    return file.toString().matches(".*\\.(java|cpp|h|sh|py|txt|env)");
  }

  private static boolean isClass(String name) {
    try {
      Class.forName(name, false, DocumentsTest.class.getClassLoader());
      return true;
    } catch (ClassNotFoundException | LinkageError e) {
      return false;
    }
  }
}
