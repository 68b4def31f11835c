package org.autocircuit;

import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.exception.NativeException;
import org.autocircuit.internal.NativeMath;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;

/**
 * Runs for MemoryLimitsTest: passes that need more memory than a limit on the address space leaves,
 * so that they fail at one allocation or another.
 */
final class OutOfMemoryWorkload {

  // A tensor of activations takes 4 MB, so the JVM has room where one cannot be had.
  private static final TransformerConfig CONFIG = RandomModels.config(3, 256, 8, 32, 1024, 64, 64);
  private static final int BATCH = 64;
  private static final int SEQ = 64;
  private static final int ROUNDS = 3;
  private static final long MEGABYTE = 1L << 20;
  private static final long MOST = 160 * MEGABYTE;

  /** Runs prlimit: when memory is short, this process could not start another. */
  private final Process shell;

  private final long used;

  private OutOfMemoryWorkload() throws IOException {
    shell = new ProcessBuilder("sh").redirectError(Redirect.INHERIT).start();
    used = addressSpace();
  }

  /**
   * Prints how many passes of how many ran out of memory, and the largest batch that fitted under
   * the limit before and after these; and by how many megabytes the pool of buffers and the address
   * space grew in all rounds after the first.
   */
  public static void main(String[] arguments) throws IOException {
    Threads.set(1);
    long[][] large = prompts(BATCH);
    try (PatchableModel model =
            RandomModels.patchable(CONFIG, Precision.FLOAT32, PatchableModelOptions.defaults(), 1);
        SourceActivations activations = model.sourceAblations(large, BatchAblation.ZERO)) {
      Masks masks = Masks.of(model.graph(), RandomModels.masks(model.graph(), 1));
      PatchContext context = PatchContext.of(activations, masks);
      AnswerLoss loss =
          AnswerLoss.of(GradFunction.LOGIT, AnswerFunction.AVG_VAL, column(3), column(4));
      List<Runnable> passes =
          List.of(
              () -> model.logits(large, context),
              () -> model.sourceAblations(large, BatchAblation.RESAMPLE).close(),
              () -> {
                try (PointerScope scope = new PointerScope()) {
                  model.maskGradient(large, context, loss);
                }
              });
      float[][] expected = model.logits(prompts(1));
      // The JVM loads its classes and starts its threads while it has memory.
      try (SourceActivations one = model.sourceAblations(prompts(1), BatchAblation.ZERO)) {
        model.logits(prompts(1), PatchContext.of(one, masks));
      }
      OutOfMemoryWorkload workload = new OutOfMemoryWorkload();
      int before = workload.largestBatch(model);
      int failed = 0;
      int tried = 0;
      long pool = 0;
      long space = 0;
      for (int round = 0; round < ROUNDS; round++) {
        for (long more = MOST / 8; more <= MOST; more *= 2) {
          for (Runnable pass : passes) {
            tried++;
            failed += workload.fails(more, pass) ? 1 : 0;
            if (!Arrays.deepEquals(model.logits(prompts(1)), expected)) {
              throw new AssertionError("the model computes something else than before");
            }
          }
        }
        if (round == 0) {
          pool = NativeMath.workspaceBytes();
          space = addressSpace();
        }
      }
      pool = NativeMath.workspaceBytes() - pool;
      space = addressSpace() - space;
      int after = workload.largestBatch(model);
      passes.forEach(Runnable::run);
      workload.shell.destroy();
      System.out.printf(
          "failed %d of %d, batch %d before, %d after, pool grew by %d MB, address space by %d MB%n",
          failed, tried, before, after, pool / MEGABYTE, space / MEGABYTE);
    }
  }

  /** A power of 2. What earlier passes kept to themselves would make it smaller. */
  private int largestBatch(PatchableModel model) throws IOException {
    int batch = BATCH;
    while (batch > 0) {
      long[][] prompts = prompts(batch);
      if (!fails(MOST, () -> model.sourceAblations(prompts, BatchAblation.RESAMPLE).close())) {
        break;
      }
      batch /= 2;
    }
    return batch;
  }

  /** Returns whether a pass runs out of memory if so much more is there than at the beginning. */
  private boolean fails(long more, Runnable pass) throws IOException {
    limitAddressSpace(Long.toString(used + more));
    try {
      pass.run();
      return false;
    } catch (NativeException e) {
      if (!e.getMessage().contains("out of native memory")) {
        throw e;
      }
      return true;
    } finally {
      limitAddressSpace("unlimited");
    }
  }

  /** Of this process; the hard limit stays, so that it can be lifted again. */
  private void limitAddressSpace(String bytes) throws IOException {
    String command =
        "prlimit --pid %s --as=%s: && echo done\n".formatted(ProcessHandle.current().pid(), bytes);
    shell.getOutputStream().write(command.getBytes(StandardCharsets.US_ASCII));
    shell.getOutputStream().flush();
    byte[] answer = shell.getInputStream().readNBytes("done\n".length());
    if (answer.length == 0) {
      throw new IOException("prlimit is missing");
    }
  }

  private static long addressSpace() throws IOException {
    return 4096 * Long.parseLong(Files.readString(Path.of("/proc/self/statm")).split(" ", -1)[0]);
  }

  private static long[][] prompts(int batch) {
    return RandomModels.prompts(CONFIG, batch, SEQ, 1);
  }

  private static long[][] column(long value) {
    long[][] column = new long[BATCH][1];
    for (long[] row : column) {
      row[0] = value;
    }
    return column;
  }
}
