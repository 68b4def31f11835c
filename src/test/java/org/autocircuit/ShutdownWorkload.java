package org.autocircuit;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.checkpoint.Checkpoints;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.eval.CircuitRuns;
import org.autocircuit.exception.StoppedException;
import org.autocircuit.model.Model;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.DatasetAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;
import org.autocircuit.prune.Acdc;
import org.autocircuit.prune.EdgeActivationPatching;
import org.autocircuit.prune.MaskGradient;
import org.autocircuit.prune.MaskTraining;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.prune.RandomPruneScores;
import org.autocircuit.prune.SubnetworkProbing;
import org.autocircuit.train.IndirectObjectTraining;
import org.autocircuit.train.TrainingOptions;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** Runs for ShutdownTest: the JVM ends while threads are inside native code. */
final class ShutdownWorkload {

  /** The line that each thread prints when it is inside its work. */
  static final String RUNNING = "running";

  static final int THREADS = 4;

  private static final int PASSES_BEFORE = 20;
  private static final AnswerLoss LOSS =
      AnswerLoss.of(
          GradFunction.LOGIT, AnswerFunction.AVG_DIFF, new long[][] {{1}}, new long[][] {{2}});

  /** Something that goes on until it is stopped. */
  private interface Work {
    void run() throws IOException;
  }

  private final PatchableModel model =
      TestModels.patchable(Precision.FLOAT32, PatchableModelOptions.defaults());

  private final List<PromptPairBatch> batches =
      IntStream.range(0, 200).mapToObj(i -> TestModels.batch(2, 4, i)).toList();

  private ShutdownWorkload() {}

  /** Prints what the threads' calls end with. */
  public static void main(String[] arguments) throws InterruptedException {
    // So that what threads print when they are refused is out before the process ends.
    Runtime.getRuntime().addShutdownHook(new Thread(() -> LockSupport.parkNanos(500_000_000)));
    ShutdownWorkload workload = new ShutdownWorkload();
    switch (arguments[0]) {
      case "passes" -> workload.exitInsidePasses();
      case "calls" -> workload.longCalls().forEach(workload::start);
      case "backward" -> IntStream.range(0, THREADS).forEach(i -> startBackward());
      case "listener" -> workload.exitInsideAListener();
      default -> throw new IllegalArgumentException(arguments[0]);
    }
    Thread.sleep(60_000);
  }

  private void exitInsidePasses() throws InterruptedException {
    long[][] prompts = {{1, 2, 3, 4}};
    SourceActivations patch =
        model.sourceAblations(new long[][] {{4, 3, 2, 1}}, BatchAblation.RESAMPLE);
    PatchContext context = PatchContext.of(patch, Masks.uniform(model.graph(), 0.5));
    CountDownLatch passes = new CountDownLatch(THREADS * PASSES_BEFORE);
    for (int i = 0; i < THREADS; i++) {
      daemon(
          () -> {
            try {
              while (true) {
                try (PointerScope scope = new PointerScope()) {
                  model.maskGradient(prompts, context, LOSS);
                }
                passes.countDown();
              }
            } catch (IllegalStateException e) {
              System.out.println(e.getMessage());
            }
          });
    }
    passes.await();
    System.exit(0);
  }

  private void exitInsideAListener() {
    MaskGradient.builder().build().pruneScores(model, batches, (done, total) -> System.exit(7));
  }

  /** Long calls by name, each longer than this process shall live. */
  static Stream<String> names() {
    return Stream.of(
        "gradients", "edges", "acdc", "circuits", "probing", "training", "mean", "loading");
  }

  private Map<String, Work> longCalls() {
    Map<String, Work> calls = new LinkedHashMap<>();
    calls.put(
        "gradients",
        () ->
            MaskGradient.builder()
                .build()
                .pruneScores(model, batches, (done, total) -> running(done)));
    calls.put(
        "edges",
        () ->
            EdgeActivationPatching.builder()
                .build()
                .pruneScores(model, batches, (done, total) -> running(done)));
    calls.put(
        "acdc",
        () ->
            Acdc.builder()
                .listener(decision -> running(decision.done()))
                .sequential()
                .build()
                .pruneScores(model, batches.subList(0, 1)));
    calls.put(
        "circuits",
        () ->
            CircuitRuns.builder(RandomPruneScores.of(model.graph(), 1))
                .progress((done, total) -> running(done))
                .build()
                .measure(model, batches));
    calls.put("probing", this::probing);
    calls.put("training", ShutdownWorkload::training);
    calls.put(
        "mean",
        () -> {
          running(1);
          while (true) {
            model.sourceAblations(batches, DatasetAblation.TOKENWISE_MEAN_CORRUPT).close();
          }
        });
    calls.put("loading", ShutdownWorkload::loading);
    return calls;
  }

  private void probing() {
    try (SourceActivations mean =
            model.sourceAblations(batches.subList(0, 2), DatasetAblation.TOKENWISE_MEAN_CORRUPT);
        MaskTraining probing = SubnetworkProbing.builder().build().begin(model, mean)) {
      while (true) {
        probing.step(batches.get(0));
        running(probing.steps());
      }
    }
  }

  private static void training() {
    TrainingOptions options =
        TrainingOptions.DEFAULT
            .withSteps(100_000, 3)
            .withAccuracyGoal(1)
            .withMeasureEvery(3)
            .withBatchSize(8)
            .withLearningRate(1e-3);
    try (IndirectObjectTraining training =
        new IndirectObjectTraining(IndirectObjectTraining.config(2, 32, 4), options)) {
      training.run((step, loss, coolingDown, scores) -> running(step / 3));
    }
  }

  private static void loading() throws IOException {
    Path folder = Files.createTempDirectory("loading");
    try {
      TransformerConfig config = RandomModels.config(1, 8, 2, 4, 8, 5, 4);
      try (Model model = RandomModels.model(config, Precision.FLOAT32, 1)) {
        Checkpoints.save(model, folder);
      }
      running(1);
      while (true) {
        Checkpoints.load(folder).close();
      }
    } finally {
      try (Stream<Path> files = Files.walk(folder)) {
        for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
          Files.delete(file);
        }
      }
    }
  }

  private static void running(long done) {
    if (done == 1) {
      System.out.println(RUNNING);
    }
  }

  /** Within a use, so that the JVM waits for the line that says how it ended. */
  private void start(String name, Work work) {
    daemon(
        () -> {
          try (Use use = model.use()) {
            try {
              while (true) {
                work.run();
              }
            } catch (StoppedException e) {
              String partial = e.partial(PruneScores.class).isPresent() ? ", with scores" : "";
              System.out.println(name + " " + e.getMessage() + partial);
            } catch (IOException | RuntimeException e) {
              System.out.println(name + " failed: " + e);
            }
          }
        });
  }

  /** Again and again through a record that keeps no values, which can be gone through so. */
  private static void startBackward() {
    daemon(
        () -> {
          long steps = 0;
          try (PointerScope scope = new PointerScope()) {
            Tensor leaf = torch.zeros(new long[] {8}).set_requires_grad(true);
            Tensor sum = leaf;
            for (int i = 0; i < 50; i++) {
              sum = sum.add(leaf);
            }
            Tensor loss = sum.sum();
            while (true) {
              PatchableModel.backward(loss);
              running(++steps);
            }
          } catch (IllegalStateException e) {
            System.out.println(e.getMessage());
          }
        });
  }

  private static void daemon(Runnable work) {
    Thread thread = new Thread(work);
    thread.setDaemon(true);
    thread.start();
  }
}
