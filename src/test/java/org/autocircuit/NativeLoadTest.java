package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.bytedeco.javacpp.Loader;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Odd surroundings: folders that cannot be written, jars that are missing, class loaders, another
 * LibTorch. The library works there, or says in one line what to do.
 */
@Tag("slow")
class NativeLoadTest {

  private static final int MOST_SECONDS = 180;

  /** Nobody can make a folder there, root included. */
  private static final String READ_ONLY = "/proc/read-only";

  @TempDir Path folder;

  private List<String> run(JavaProcess process, String... arguments) throws IOException {
    JavaProcess.Result result = process.run(NativeLoadProbe.class, MOST_SECONDS, arguments);
    assertThat(result.exitCode()).as(result.output()).isZero();
    return result
        .output()
        .lines()
        .filter(line -> line.equals("patched") || line.startsWith("NativeLoadException: "))
        .toList();
  }

  /** Returns where the libraries are unpacked already: unpacking takes a while. */
  private static String unpacked() throws IOException {
    return "-Dorg.bytedeco.javacpp.cachedir=" + Loader.getCacheDir();
  }

  /** JavaCPP would warn of OpenBLAS's version. That a model was loaded is a matter of the log. */
  @Test
  void openingAModelPrintsNothing() throws IOException {
    assertThat(printedByOpening(System.getProperty("java.class.path"))).isEmpty();
  }

  /** As where another OpenBLAS is on the class path than the one that is known to work. */
  @Test
  void theVersionOfAnotherOpenBlasIsStillWarnedOf() throws IOException {
    Path properties = folder.resolve("META-INF/maven/org.bytedeco/openblas/pom.properties");
    Files.createDirectories(properties.getParent());
    Files.writeString(properties, "version=0.3.30-1.5.12");
    assertThat(printedByOpening(folder + ":" + System.getProperty("java.class.path")))
        .hasLineCount(1)
        .contains("Warning: Versions of", "org.bytedeco:openblas:0.3.30-1.5.12 do not match.");
  }

  private String printedByOpening(String classPath) throws IOException {
    Path logging = Files.writeString(folder.resolve("logging.properties"), ".level=WARNING");
    JavaProcess.Result result =
        new JavaProcess()
            .with(unpacked(), "-Djava.util.logging.config.file=" + logging)
            .classPath(classPath)
            .run(NativeLoadProbe.class, MOST_SECONDS, "open");
    assertThat(result.exitCode()).as(result.output()).isZero();
    return result.output();
  }

  @Test
  void aReadOnlyHomeAndACacheFolderWithSpacesWork() throws IOException {
    Path cache = folder.resolve("an unusual/cache folder");
    JavaProcess process =
        new JavaProcess()
            .with("-Duser.home=" + READ_ONLY, "-Dorg.bytedeco.javacpp.cachedir=" + cache);
    assertThat(run(process, "twice")).containsExactly("patched", "patched");
    try (Stream<Path> files = Files.walk(cache)) {
      assertThat(files.map(file -> file.getFileName().toString())).contains("libtorch_cpu.so");
    }
  }

  @Test
  void aReadOnlyHomeWorksIfThereIsATemporaryFolder() throws IOException {
    Path cache = folder.resolve(".javacpp-" + System.getProperty("user.name"));
    Files.createDirectory(cache);
    Files.createSymbolicLink(cache.resolve("cache"), Loader.getCacheDir().toPath());
    JavaProcess process =
        new JavaProcess().with("-Duser.home=" + READ_ONLY, "-Djava.io.tmpdir=" + folder);
    assertThat(run(process, "twice")).containsExactly("patched", "patched");
  }

  @Test
  void withNoFolderToUnpackToTheMessageNamesTheProperty() throws IOException {
    JavaProcess process =
        new JavaProcess()
            .with("-Duser.home=" + READ_ONLY, "-Djava.io.tmpdir=" + READ_ONLY)
            .with("-Dorg.bytedeco.javacpp.cachedir=" + READ_ONLY);
    // The second call fails like the first one, not with a NoClassDefFoundError.
    assertThat(run(process, "twice"))
        .hasSize(2)
        .allMatch(line -> line.contains("-Dorg.bytedeco.javacpp.cachedir"))
        .allMatch(line -> line.contains(READ_ONLY));
  }

  @ParameterizedTest
  @ValueSource(strings = {"openblas", "pytorch"})
  void aMissingJarIsNamed(String artifact) throws IOException {
    assertMissing(
        "org.bytedeco:" + artifact,
        classPath()
            .filter(jar -> !jar.matches(".*/" + artifact + "-[^/]*-linux-x86_64[^/]*\\.jar")));
  }

  @Test
  void theMissingJarWithOurOwnLibrariesIsNamed() throws IOException {
    Path classes = folder.resolve("classes");
    for (String entry : classPath().filter(entry -> !entry.endsWith(".jar")).toList()) {
      copyWithoutLibraries(Path.of(entry), classes);
    }
    Stream<String> jars = classPath().filter(entry -> entry.endsWith(".jar"));
    assertMissing(
        "org.autocircuit:autocircuit", Stream.concat(Stream.of(classes.toString()), jars));
  }

  private void assertMissing(String artifact, Stream<String> classPath) throws IOException {
    JavaProcess process =
        new JavaProcess().with(unpacked()).classPath(classPath.collect(Collectors.joining(":")));
    assertThat(run(process, "twice"))
        .hasSize(2)
        .allMatch(line -> line.contains(artifact + ": the jar with classifier linux-x86_64"));
  }

  private static Stream<String> classPath() {
    return Arrays.stream(System.getProperty("java.class.path").split(":", -1));
  }

  private static void copyWithoutLibraries(Path from, Path to) throws IOException {
    try (Stream<Path> files = Files.walk(from)) {
      for (Path file : files.filter(f -> f.toString().endsWith(".class")).toList()) {
        Path copy = to.resolve(from.relativize(file));
        Files.createDirectories(copy.getParent());
        Files.copy(file, copy);
      }
    }
  }

  @Test
  void twoClassLoadersShareTheUnpackedLibraries() throws IOException {
    assertThat(run(new JavaProcess().with(unpacked()), "loaders"))
        .containsExactly("patched", "patched");
  }

  /** Six times, so that what is left of each would show. */
  @Test
  void applicationsThatEndLeaveNothing() throws IOException {
    JavaProcess process =
        new JavaProcess().with(unpacked(), "-Dorg.bytedeco.javacpp.maxPhysicalBytes=0", "-Xmx256m");
    JavaProcess.Result result = process.run(RedeployProbe.class, MOST_SECONDS, "6");
    assertThat(result.exitCode()).as(result.output()).isZero();
    Matcher left =
        Pattern.compile("(\\d+) left, resident \\[(\\d+), .* (\\d+)]").matcher(result.output());
    assertThat(left.find()).as(result.output()).isTrue();
    assertThat(left.group(1)).isEqualTo("0");
    // A class loader with its classes is 20 MB or more.
    assertThat(Integer.parseInt(left.group(3)) - Integer.parseInt(left.group(2))).isLessThan(60);
  }

  /** Without the check LibTorch would end the process. */
  @Test
  void twoClassLoadersWithTheirOwnLibrariesAreRefused() throws IOException {
    String second = folder.resolve("second").toString();
    List<String> lines = run(new JavaProcess().with(unpacked()), "loaders", second);
    assertThat(lines).hasSize(2).first().isEqualTo("patched");
    assertThat(lines.get(1))
        .contains("another LibTorch", Loader.getCacheDir().toString(), "class loader");
  }

  @Test
  void anotherEnginesLibTorchIsRefused() throws IOException {
    // Any library will do: nothing of it is called.
    Path other = folder.resolve("libc10.so");
    try (Stream<Path> cached = Files.walk(Loader.getCacheDir().toPath())) {
      Path any = cached.filter(file -> file.endsWith("libjnijavacpp.so")).findFirst().orElseThrow();
      Files.copy(any, other);
    }
    assertThat(run(new JavaProcess().with(unpacked()), "after", other.toString()))
        .singleElement()
        .asString()
        .contains("another LibTorch", other.toString());
  }
}
