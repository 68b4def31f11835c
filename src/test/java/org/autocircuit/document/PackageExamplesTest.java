package org.autocircuit.document;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.StringWriter;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every package that users see has an example in its javadoc, and all of them compile. */
class PackageExamplesTest {

  private static final Path PACKAGES = Path.of("src/main/java/org/autocircuit");
  private static final Pattern EXAMPLE =
      Pattern.compile("<pre>\\{@code\n(.*?)\n \\* }</pre>", Pattern.DOTALL);

  /** Gives the examples names to use: a text model, a generator and a request. */
  private static final String CLASS =
      """
      %s
      class OfPackage%s {
        TextModel model;
        Generator generator;
        GenerationRequest request;

        void run() throws Exception {
          %s
        }
      }
      """;

  @Test
  void eachPackageHasAnExampleThatCompiles(@TempDir Path classes) throws IOException {
    List<Path> packages = packages();
    String imports = imports(packages);
    List<JavaFileObject> sources =
        packages.stream().map(file -> source(file, imports)).flatMap(Optional::stream).toList();
    assertThat(sources).as("examples").hasSameSizeAs(packages);
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    StringWriter messages = new StringWriter();
    List<String> options =
        List.of("-proc:none", "-Xlint:none", "-nowarn", "-d", classes.toString());
    assertThat(compiler.getTask(messages, null, null, options, null, sources).call())
        .as("%s", messages)
        .isTrue();
  }

  private static List<Path> packages() throws IOException {
    try (Stream<Path> files = Files.walk(PACKAGES)) {
      return files
          .filter(file -> file.endsWith("package-info.java"))
          .filter(file -> !file.startsWith(PACKAGES.resolve("internal")))
          .sorted()
          .toList();
    }
  }

  private static String imports(List<Path> packages) {
    StringBuilder imports =
        new StringBuilder(
            """
            import java.nio.file.Path;
            import java.util.List;
            import io.micrometer.core.instrument.MeterRegistry;
            import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
            import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
            import org.autocircuit.attribution.AnswerLoss.GradFunction;
            """);
    packages.forEach(file -> imports.append("import ").append(name(file)).append(".*;\n"));
    return imports.toString();
  }

  private static String name(Path packageInfo) {
    return Path.of("src/main/java")
        .relativize(packageInfo.getParent())
        .toString()
        .replace('/', '.');
  }

  /** A class around the example of a package, if it has one. */
  private static Optional<JavaFileObject> source(Path packageInfo, String imports) {
    String name = name(packageInfo);
    String last = name.substring(name.lastIndexOf('.') + 1);
    String suffix = last.substring(0, 1).toUpperCase(Locale.ROOT) + last.substring(1);
    Matcher example = EXAMPLE.matcher(Document.read(packageInfo).text());
    if (!example.find()) {
      return Optional.empty();
    }
    String code = example.group(1).replaceAll("(?m)^ \\* ?", "");
    String text = CLASS.formatted(imports, suffix, code);
    return Optional.of(
        new SimpleJavaFileObject(
            URI.create("string:///OfPackage" + suffix + ".java"), JavaFileObject.Kind.SOURCE) {
          @Override
          public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return text;
          }
        });
  }
}
