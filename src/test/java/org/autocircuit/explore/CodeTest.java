package org.autocircuit.explore;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.reflect.Method;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import javax.tools.ToolProvider;
import org.autocircuit.cli.Main;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.patch.BatchAblation;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Programs and commands that pages give run, and print what the pages show. */
class CodeTest {

  private static TestExploration exploration;

  @TempDir private Path folder;

  @BeforeAll
  static void open() {
    exploration = new TestExploration();
  }

  @AfterAll
  static void close() {
    exploration.close();
  }

  private static ObjectNode question(int size, String ablation, int at) {
    EdgeSet circuit = exploration.model.circuit(exploration.scores, size).edges();
    return TestExploration.question(circuit.complement()).put("ablation", ablation).put("at", at);
  }

  /** The most probable tokens of a run, as programs print them. */
  private static String top(JsonNode said, String run) {
    List<JsonNode> tokens = new ArrayList<>();
    said.get("next").forEach(tokens::add);
    tokens.sort(
        (a, b) -> Double.compare(b.get(run).get(0).asDouble(), a.get(run).get(0).asDouble()));
    JsonNode first = tokens.get(0);
    return first.get("token").textValue()
        + String.format(Locale.ROOT, " %.2f %%", 100 * first.get(run).get(0).asDouble());
  }

  @ParameterizedTest
  @CsvSource({
    "40, resample, -1",
    "1500, zero, -1",
    "60, batch-all-tok-mean, -1",
    "40, resample, 10",
    "1500, resample, 10"
  })
  void programsRun(int size, String ablation, int at) throws Exception {
    ObjectNode question = question(size, ablation, at);
    String printed = run(exploration.ask("/code", question).get("java").textValue());
    JsonNode said = exploration.ask("/run", question);
    assertThat(printed)
        .contains("model    [" + top(said, "plain"), "patched  [" + top(said, "patched"));
  }

  private String run(String program) throws Exception {
    Path source = folder.resolve("Explored.java");
    Files.writeString(source, program);
    ByteArrayOutputStream problems = new ByteArrayOutputStream();
    int code =
        ToolProvider.getSystemJavaCompiler()
            .run(
                null,
                null,
                problems,
                "-proc:none",
                "-Xlint:all,-path",
                "-Werror",
                "-cp",
                System.getProperty("java.class.path"),
                "-d",
                folder.toString(),
                source.toString());
    assertThat(code).as("%s in %s", problems, program).isZero();
    PrintStream console = System.out;
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    URL[] classes = {folder.toUri().toURL()};
    try (URLClassLoader loader = new URLClassLoader(classes, CodeTest.class.getClassLoader())) {
      Method main = loader.loadClass("Explored").getDeclaredMethod("main", String[].class);
      main.setAccessible(true);
      System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
      main.invoke(null, (Object) new String[0]);
    } finally {
      System.setOut(console);
    }
    return printed.toString(StandardCharsets.UTF_8);
  }

  @ParameterizedTest
  @CsvSource({"40, resample, -1", "1500, zero, -1", "1500, resample, 10", "1400, resample, 10"})
  void commandsRun(int size, String ablation, int at) {
    ObjectNode question = question(size, ablation, at);
    String command = exploration.ask("/code", question).get("command").textValue();
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    int code =
        Main.commandLine()
            .setOut(new PrintWriter(out))
            .setErr(new PrintWriter(err))
            .execute(words(command));
    assertThat(code).as("%s: %s", command, err).isZero();
    assertThat(err.toString()).isEmpty();
    JsonNode said = exploration.ask("/run", question);
    // A line is: rank, token, probability, logit, and the same of the patched model.
    String first =
        out.toString().lines().filter(line -> line.matches(" +1  .*")).findFirst().orElseThrow();
    assertThat(first.replaceAll(" +", " ")).contains(top(said, "plain"), top(said, "patched"));
  }

  /** Takes a command apart as a shell does, without its own name. */
  private static String[] words(String command) {
    return Pattern.compile("'([^']*)'|(\\S+)")
        .matcher(command)
        .results()
        .map(word -> word.group(1) == null ? word.group(2) : word.group(1))
        .skip(1)
        .toArray(String[]::new);
  }

  @Test
  void thereIsNoCommandForMeans() {
    ObjectNode question = question(40, "batch-all-tok-mean", -1);
    assertThat(exploration.ask("/code", question).get("command").textValue()).isEmpty();
  }

  @Test
  void textsAreQuoted() {
    assertThat(Code.quoted("a \"b\" \\ \n\r\tü\u2028"))
        .isEqualTo("\"a \\\"b\\\" \\\\ \\n\\r\\t\\u00fc\\u2028\"");
    assertThat(Code.shell("it's $HOME")).isEqualTo("'it'\\''s $HOME'");
    assertThat(Code.shell("A0.1")).isEqualTo("A0.1");
    Question question =
        new Question(
            "*/ \"; }",
            "\\u0022",
            BatchAblation.RESAMPLE,
            -1,
            EdgeSet.none(exploration.model.graph()),
            "",
            "");
    assertThat(new Code(exploration.model, Path.of("a \"model\"")).java(question))
        .contains("Path.of(\"a \\\"model\\\"\")", "\"*/ \\\"; }\"", "\"\\\\u0022\"");
    assertThat(new Code(exploration.model, Path.of("m")).command(question))
        .startsWith("autocircuit run --model m --prompt '*/ \"; }' --corrupt '\\u0022'");
  }
}
