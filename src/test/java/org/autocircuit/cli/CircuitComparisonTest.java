package org.autocircuit.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptBatches;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.pass.Checkpoint;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.tokenizer.Tokenizer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CircuitComparisonTest {

  @TempDir private Path folder;

  @Test
  void randomCircuitsShareOneProgress() throws IOException {
    TinyModel.write(folder);
    List<PromptPairBatch> batches;
    try (Tokenizer tokenizer = Tokenizer.load(folder)) {
      batches =
          PromptBatches.of(TinyModel.prompts(), tokenizer, PromptBatches.Options.ofSize(6))
              .batches();
    }
    List<String> reports = new ArrayList<>();
    try (PatchableModel model = PatchableModel.open(folder)) {
      new CircuitComparison(
              model,
              batches,
              BatchAblation.RESAMPLE,
              3,
              0,
              new Phases(),
              name -> Checkpoint.NONE,
              new PrintWriter(new StringWriter()))
          .random(List.of(5, 20), (done, total) -> reports.add(done + " of " + total));
    }
    assertThat(reports)
        .hasSize(12)
        .startsWith("1 of 12", "2 of 12")
        .endsWith("11 of 12", "12 of 12")
        .doesNotHaveDuplicates();
  }
}
