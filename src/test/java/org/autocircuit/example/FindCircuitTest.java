package org.autocircuit.example;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.autocircuit.cli.TinyModel;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FindCircuitTest {

  @Test
  void runs(@TempDir Path folder) throws IOException {
    TinyModel.write(folder);
    TinyModel.prompts().write(folder.resolve("pairs.json"));
    PrintStream console = System.out;
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
    try {
      FindCircuit.main(new String[] {folder.toString(), folder.resolve("pairs.json").toString()});
    } finally {
      System.setOut(console);
    }
    assertThat(printed.toString(StandardCharsets.UTF_8).lines()).hasSize(12);
    assertThat(printed.toString(StandardCharsets.UTF_8)).contains("20 edges: logit difference ");
  }

  @Test
  void staysShortEnoughToRead() throws IOException {
    Path source = Path.of("src/test/java/org/autocircuit/example/FindCircuit.java");
    assertThat(
            Files.readAllLines(source).stream()
                .dropWhile(line -> !line.startsWith("public class"))
                .toList())
        .hasSizeLessThanOrEqualTo(20);
  }
}
