package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.autocircuit.checkpoint.Checkpoints;
import org.autocircuit.model.Model;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Tests passes with too little memory, in JVMs of their own: the system's, or what JavaCPP allows.
 */
@Tag("slow")
class MemoryLimitsTest {

  private static final int MOST_SECONDS = 240;

  /** 300 MB of embedding, more than four times the heap below. */
  private static final TransformerConfig LARGE =
      RandomModels.config(1, 256, 2, 128, 64, 300_000, 8);

  private static final String SMALL_HEAP = "-Xmx64m";

  @TempDir static Path folder;

  @BeforeAll
  static void saveALargeModel() {
    int rows = 100;
    TransformerConfig small = RandomModels.config(1, 256, 2, 128, 64, rows, 8);
    try (PointerScope scope = new PointerScope()) {
      Map<String, Tensor> weights = RandomModels.weights(small, ScalarType.Float, true, 1);
      Tensor few = weights.get("embed.W_E");
      Tensor many =
          torch.cat(new TensorVector(few, torch.zeros(LARGE.dVocab() - rows, LARGE.dModel())));
      weights.put("embed.W_E", many);
      weights.put("unembed.W_U", many);
      try (Model model = Model.of(LARGE, weights)) {
        Checkpoints.save(model, folder);
      }
    }
  }

  @Test
  void aLargeModelWorksUnderASmallHeapWithTheCollectorOn() throws IOException {
    JavaProcess.Result result =
        new JavaProcess()
            .with(SMALL_HEAP, "-Dorg.bytedeco.javacpp.maxPhysicalBytes=0")
            .run(SmallHeapWorkload.class, MOST_SECONDS, folder.toString());
    assertThat(result.exitCode()).as(result.output()).isZero();
    assertThat(result.output()).containsPattern("gradient 0\\.\\d*[1-9]|gradient [1-9]");
  }

  @Test
  void withoutThePropertyLoadingFailsEarlyAndNamesIt() throws IOException {
    JavaProcess.Result result =
        new JavaProcess()
            .with(SMALL_HEAP)
            .run(SmallHeapWorkload.class, MOST_SECONDS, folder.toString());
    assertThat(result.exitCode()).as(result.output()).isZero();
    assertThat(result.output())
        .contains("IllegalStateException", "-Dorg.bytedeco.javacpp.maxPhysicalBytes=0");
  }

  @Test
  void afterAPassRanOutOfMemoryTheModelIsUsableAndNothingIsLeft() throws IOException {
    // Interpreted, since the JVM's own compiler may not run out of memory.
    JavaProcess.Result result =
        new JavaProcess()
            .with("-Xint", "-Xms64m", "-Xmx64m", "-XX:+UseSerialGC", "-XX:+AlwaysPreTouch")
            .with("-Dorg.bytedeco.javacpp.noPointerGC=true")
            .run(OutOfMemoryWorkload.class, MOST_SECONDS);
    assertThat(result.exitCode()).as(result.output()).isZero();
    System.out.println("MemoryLimitsTest: " + result.output().strip());
    Matcher counts =
        Pattern.compile(
                "failed (\\d+) of (\\d+), batch (\\d+) before, (\\d+) after,"
                    + " pool grew by (-?\\d+) MB, address space by (-?\\d+) MB")
            .matcher(result.output());
    assertThat(counts.find()).as(result.output()).isTrue();
    assertThat(Integer.parseInt(counts.group(1)))
        .as("most passes fail: " + result.output())
        .isGreaterThan(Integer.parseInt(counts.group(2)) / 2);
    assertThat(Integer.parseInt(counts.group(3))).isPositive();
    assertThat(counts.group(4)).as("nothing is left").isEqualTo(counts.group(3));
    // A single tensor of activations would be 4 MB.
    assertThat(Integer.parseInt(counts.group(5))).as("pool").isLessThan(2);
    assertThat(Integer.parseInt(counts.group(6))).as("address space").isLessThan(4);
  }
}
