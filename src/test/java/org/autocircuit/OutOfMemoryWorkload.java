package org.autocircuit;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.autocircuit.AnswerLoss.AnswerFunction;
import org.autocircuit.AnswerLoss.GradFunction;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;

/**
 * What OutOfMemoryTest runs: passes under a limit on the address space that is a little above what
 * is in use, so that they fail at one allocation or another.
 */
final class OutOfMemoryWorkload {

  // One tensor of activations takes 1 MB at least, so the JVM has room when it cannot be had.
  private static final TransformerConfig CONFIG =
      new TransformerConfig(3, 256, 8, 32, 1024, 64, 64, 1e-5, "gelu_new");
  private static final int BATCH = 32;
  private static final int SEQ = 32;
  private static final int ROUNDS = 3;
  private static final long MEGABYTE = 1L << 20;

  private OutOfMemoryWorkload() {}

  /** Prints how many passes failed, and the resident set after each round in megabytes. */
  public static void main(String[] arguments) throws IOException, InterruptedException {
    Threads.set(1);
    Workspaces.setLimit(0); // idle buffers would serve the passes that should fail
    long[][] large = RandomModels.prompts(CONFIG, BATCH, SEQ, 1);
    long[][] small = RandomModels.prompts(CONFIG, 1, 4, 2);
    AnswerLoss loss =
        AnswerLoss.of(
            GradFunction.LOGIT, AnswerFunction.AVG_VAL, columns(BATCH, 3), columns(BATCH, 4));
    try (PatchableModel model =
            RandomModels.patchable(CONFIG, Precision.FLOAT32, PatchableModelOptions.defaults(), 1);
        SourceActivations activations = model.sourceAblations(large, AblationType.RESAMPLE)) {
      PatchContext context =
          PatchContext.of(
              activations, Masks.of(model.graph(), RandomModels.masks(model.graph(), 1)));
      Runnable[] passes = {
        () -> model.logits(large, context),
        () -> model.sourceAblations(large, AblationType.RESAMPLE).close(),
        () -> discard(model, large, context, loss)
      };
      float[][] expected = model.logits(small);
      for (Runnable pass : passes) {
        pass.run();
      }
      for (int round = 0; round < ROUNDS; round++) {
        int failed = 0;
        for (long megabytes = 8; megabytes <= 128; megabytes *= 2) {
          for (Runnable pass : passes) {
            failed += failsUnder(megabytes, pass) ? 1 : 0;
            if (!Arrays.deepEquals(model.logits(small), expected)) {
              throw new AssertionError("the model computes something else than before");
            }
          }
        }
        for (Runnable pass : passes) {
          pass.run();
        }
        System.out.printf("failed %d resident %d%n", failed, pages(1) * 4096 / MEGABYTE);
      }
    }
  }

  private static void discard(
      PatchableModel model, long[][] prompts, PatchContext context, AnswerLoss loss) {
    try (PointerScope scope = new PointerScope()) {
      model.maskGradient(prompts, context, loss);
    }
  }

  private static boolean failsUnder(long megabytes, Runnable pass)
      throws IOException, InterruptedException {
    limitAddressSpace(Long.toString(pages(0) * 4096 + megabytes * MEGABYTE));
    try {
      pass.run();
      return false;
    } catch (NativeException e) {
      if (!e.getMessage().startsWith("out of native memory")) {
        throw e;
      }
      return true;
    } finally {
      limitAddressSpace("unlimited");
    }
  }

  /** Of this process; the hard limit stays, so that it can be lifted again. */
  private static void limitAddressSpace(String bytes) throws IOException, InterruptedException {
    String pid = Long.toString(ProcessHandle.current().pid());
    Process prlimit =
        new ProcessBuilder("prlimit", "--pid", pid, "--as=" + bytes + ":").inheritIO().start();
    if (prlimit.waitFor() != 0) {
      throw new IOException("prlimit failed");
    }
  }

  /** Pages of the process: 0 mapped, 1 resident. */
  private static long pages(int which) throws IOException {
    return Long.parseLong(Files.readString(Path.of("/proc/self/statm")).split(" ", -1)[which]);
  }

  private static long[][] columns(int rows, long value) {
    long[][] columns = new long[rows][1];
    for (long[] row : columns) {
      row[0] = value;
    }
    return columns;
  }
}
