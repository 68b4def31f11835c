package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.logging.Level;
import org.autocircuit.checkpoint.Checkpoints;
import org.autocircuit.checkpoint.LoadOptions;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Tests what operators read in their logs. ScopeStackTest has what is said about open modes. */
class LoggingTest {

  private static final long GIBIBYTE = 1L << 30;

  @TempDir Path folder;

  @Test
  void loadsAreLogged() {
    Path saved = folder.resolve("model");
    try (Model model = TestModels.transformer(Precision.FLOAT64, true, 1)) {
      Checkpoints.save(model, saved);
    }
    try (LogRecords records = new LogRecords("org.autocircuit.model");
        Model model = Checkpoints.load(saved, LoadOptions.DEFAULT)) {
      records.assertOne(
          Level.INFO,
          "loaded " + model + " from " + saved,
          " bytes",
          model.precision().toString(),
          "on cpu");
    }
  }

  @Test
  void moreThreadsThanProcessorsAreAWarning() {
    int before = Threads.get();
    int processors = Runtime.getRuntime().availableProcessors();
    try (LogRecords records = new LogRecords("org.autocircuit.native")) {
      Threads.set(processors);
      records.assertNone();
      Threads.set(processors + 1);
      records.assertOne(
          Level.WARNING,
          processors + 1 + " threads a call are more than the " + processors + " processors");
    } finally {
      Threads.set(before);
    }
  }

  /** Logged is what source activations hold, not the shape that they seem to have. */
  @Test
  @Tag("slow")
  void sourceActivationsOfAGibibyteAreLogged() {
    // Its sources write much, and it computes little.
    TransformerConfig wide =
        TransformerConfig.builder()
            .nLayers(1)
            .dModel(128)
            .nHeads(128)
            .dHead(1)
            .dMlp(1)
            .dVocab(31)
            .nCtx(12)
            .build();
    long sources = 1 + 128 + 1;
    int enough = (int) (GIBIBYTE / (sources * 12 * 128 * Float.BYTES) + 1);
    try (PatchableModel model =
            RandomModels.patchable(wide, Precision.FLOAT32, PatchableModelOptions.defaults(), 1);
        LogRecords records = new LogRecords("org.autocircuit.memory")) {
      assertThat(model.graph().srcs()).hasSize((int) sources);
      long[][] prompts = TestModels.tokens(enough, 12, 1);
      for (BatchAblation type : List.of(BatchAblation.ZERO, BatchAblation.BATCH_TOKENWISE_MEAN)) {
        try (SourceActivations activations = model.sourceAblations(prompts, type)) {
          Tensor tensor = activations.tensor();
          assertThat(tensor.nbytes())
              .as("bytes that it seems to have")
              .isGreaterThanOrEqualTo(GIBIBYTE);
          tensor.close();
        }
        records.assertNone();
      }
      model.sourceAblations(TestModels.tokens(enough / 2, 12, 1), BatchAblation.RESAMPLE).close();
      records.assertNone();
      model.sourceAblations(prompts, BatchAblation.RESAMPLE).close();
      records.assertOne(
          Level.INFO,
          "source activations [130, %s, 12, 128] of %s hold".formatted(enough, model),
          String.format(Locale.ROOT, "%,d bytes", sources * enough * 12 * 128 * Float.BYTES));
    }
  }
}
