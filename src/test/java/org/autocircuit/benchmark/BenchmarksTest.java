package org.autocircuit.benchmark;

import static org.assertj.core.api.Assertions.as;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.InstanceOfAssertFactories.STRING;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.javacpp.PointerScope;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.openjdk.jmh.runner.options.Options;
import org.openjdk.jmh.runner.options.OptionsBuilder;

/** That the benchmarks run and report, not how fast anything is. */
@Tag("slow")
class BenchmarksTest {

  @TempDir Path folder;

  @Test
  void runsEveryRowAndWritesItsRatio() throws Exception {
    Options options =
        new OptionsBuilder()
            .forks(0)
            .warmupIterations(0)
            .measurementIterations(2)
            .param("size", BenchmarkSize.TINY.name())
            .build();
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    PrintStream out = new PrintStream(printed, true, StandardCharsets.UTF_8);

    List<Measurement> measurements = new Benchmarks(options, out).run();
    Path file = folder.resolve("benchmark").resolve("ratios.json");
    Benchmarks.report(measurements, Machine.of("this machine", Map.of()), file, out);

    JsonNode entries = new ObjectMapper().readTree(file.toFile());
    Map<String, JsonNode> byRow = new LinkedHashMap<>();
    for (JsonNode entry : entries) {
      assertThat(entry.fieldNames()).toIterable().containsExactly("row", "size", "ratio", "limit");
      assertThat(entry.get("size").asText()).isEqualTo("tiny");
      assertThat(entry.get("ratio").asDouble()).isNotNegative();
      byRow.put(entry.get("row").asText(), entry);
    }
    for (Row row : Row.values()) {
      JsonNode entry = byRow.remove(row.label());
      assertThat(entry.get("ratio").asDouble()).isPositive();
      assertThat(entry.get("limit").isNull()).isEqualTo(row.limit().isEmpty());
      assertThat(printed.toString(StandardCharsets.UTF_8)).contains(row.label());
    }
    // The other limits.
    assertThat(byRow.keySet())
        .contains(Row.PATCHABLE.label() + ", ms", Row.CONTEXT_BY_NAME.label() + ", ms")
        .hasSize(PeakMemory.isAvailable() ? 5 : 3);
    assertThat(byRow.values()).noneMatch(entry -> entry.get("limit").isNull());
    assertThat(measurements)
        .filteredOn(measurement -> measurement.peakBytes().isPresent())
        .hasSize(PeakMemory.isAvailable() ? 3 : 0);
    assertThat(measurements).extracting(Measurement::row).containsExactly(Row.values());
  }

  @Test
  void ratiosThatCannotBeComparedAreNotWritten() throws Exception {
    Path file = Files.writeString(folder.resolve("ratios.json"), "of an earlier run");
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    PrintStream out = new PrintStream(printed, true, StandardCharsets.UTF_8);
    Machine machine = Machine.of("this machine", Map.of("OPENBLAS_L2_SIZE", "512", "PATH", "/bin"));

    Benchmarks.report(List.of(), machine, file, out);

    assertThat(file).doesNotExist();
    assertThat(printed.toString(StandardCharsets.UTF_8).lines().limit(2))
        .first(as(STRING))
        .isEqualTo("this machine");
    assertThat(printed.toString(StandardCharsets.UTF_8).lines().skip(1))
        .first(as(STRING))
        .startsWith("NOT COMPARABLE: OPENBLAS_L2_SIZE=512 ");
  }

  @Test
  void theMachineIsNamedWithItsKernels() {
    assertThat(Machine.current().description())
        .matches(".+ \\(\\d+ processors\\), OpenBLAS core \\w+, ATen CPU capability .+");
    String core = System.getenv("OPENBLAS_CORETYPE");
    if (core != null) {
      assertThat(Machine.current().description()).containsIgnoringCase("core " + core);
    }
  }

  @Test
  void medianIsBetweenTheTwoMiddleValues() {
    assertThat(Measurement.quantile(new double[] {1, 2, 4, 8}, 0.5)).isEqualTo(3);
    assertThat(Measurement.quantile(new double[] {1, 2, 4}, 0.5)).isEqualTo(2);
    assertThat(Measurement.quantile(new double[] {5}, 0.25)).isEqualTo(5);
  }

  @Test
  void countsOperationsOfGpt2SmallByHand() {
    TransformerConfig config = BenchmarkSize.GPT2_SMALL.config();
    FlopCount count = FlopCount.of(config, ModelGraph.of(config, true, true), 8, 16);

    // 12 d_model^2 weights in a block, 128 tokens, 12 blocks; 8 last positions.
    long square = 2L * 768 * 768;
    long unembedding = 2L * 8 * 768 * 50257;
    assertThat(count.plain())
        .isEqualTo(12L * 128 * 12 * square + 12L * 4 * 128 * 16 * 768 + unembedding);
    // In the last block, keys and values at all positions, the other ten at the last ones.
    assertThat(count.products())
        .isEqualTo((11L * 128 * 12 + 128 * 2 + 8 * 10) * square + unembedding);
    assertThat(count.attention()).isEqualTo((11L * 128 + 8) * 4 * 16 * 768);
    assertThat(count.headOutputs()).isEqualTo((11L * 128 + 8) * square);
    // Of 32,491 edges, those to the last block's queries, its MLP and the end.
    long atLast = 12L * (1 + 11 * 13) + (1 + 11 * 13 + 12) + (1 + 12 * 13);
    assertThat(count.interpolation()).isEqualTo(2L * 768 * (128 * (32491 - atLast) + 8 * atLast));
  }

  @Test
  void plainPassesAgree() {
    try (Workload workload = new Workload(BenchmarkSize.TINY);
        PointerScope scope = new PointerScope()) {
      assertThat(workload.plainLogits().allclose(workload.rawLogits(), 1e-4, 1e-5, false)).isTrue();
    }
  }
}
