package org.autocircuit;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.IncrementalRun;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;

/** Runs for MemoryPlanTest: does work, and prints what it took beside its plan. */
final class MemoryPlanWorkload {

  private static final Path STATUS = Path.of("/proc/self/status");
  private static final TransformerConfig CONFIG =
      RandomModels.config(4, 256, 8, 32, 1024, 2000, 72);

  /** Says what is done. */
  enum Work {
    PLAIN,
    DENSE,
    SPARSE,
    GRADIENT,
    ATTRIBUTION,
    SEARCH
  }

  private final PatchableModel model;
  private final Work work;

  private MemoryPlanWorkload(PatchableModel model, Work work) {
    this.model = model;
    this.work = work;
  }

  /** Prints bytes: {@code planned held plannedHeld leased plannedLeased resident}. */
  public static void main(String[] arguments) throws IOException {
    Threads.set(2);
    try (PatchableModel model =
        RandomModels.patchable(
            CONFIG,
            Precision.valueOf(arguments[1]),
            PatchableModelOptions.defaults().withOutputSlice(OutputSlice.ALL),
            1)) {
      MemoryPlanWorkload workload = new MemoryPlanWorkload(model, Work.valueOf(arguments[0]));
      int batch = Integer.parseInt(arguments[2]);
      int length = Integer.parseInt(arguments[3]);
      workload.run(2, length); // what libraries and the JVM set up once
      workload.run(2, length);
      MemoryPlan plan = workload.plan(batch, length);
      long limit = Workspaces.limit();
      Workspaces.setLimit(0);
      Workspaces.setLimit(limit);
      Workspaces.resetPeak();
      Files.writeString(Path.of("/proc/self/clear_refs"), "5"); // the peak counts from here
      long before = kilobytes("VmRSS");
      workload.run(batch, length);
      long resident = 1024 * (kilobytes("VmHWM") - before);
      long run = plan.total() - plan.weights();
      System.out.println(
          "held %s planned %s leased %s planned %s resident %s planned %s"
              .formatted(
                  Workspaces.peakHeldBytes(),
                  run - plan.smallTensors(),
                  Workspaces.peakBytes(),
                  run - plan.workspaces() - plan.smallTensors(),
                  resident,
                  run));
      System.out.println(plan);
    }
  }

  private MemoryPlan plan(int batch, int length) {
    MemoryPlan.Builder plan = model.memoryPlan(batch, length);
    return switch (work) {
      case PLAIN -> plan.plainPass();
      case DENSE, SPARSE -> plan.circuits(masks());
      case GRADIENT -> plan.maskGradient(masks().get(0));
      case ATTRIBUTION -> plan.attribution();
      case SEARCH -> plan.search(masks().get(0));
    };
  }

  private List<Masks> masks() {
    return switch (work) {
      case SPARSE ->
          List.of(
              Masks.allBut(TestModels.circuit(model.graph(), 0.02, 3)),
              Masks.allBut(TestModels.circuit(model.graph(), 0.95, 4)));
      case SEARCH -> List.of(Masks.uniform(model.graph(), 0));
      default -> List.of(Masks.of(model.graph(), RandomModels.masks(model.graph(), 3)));
    };
  }

  private void run(int batch, int length) {
    long[][] clean = RandomModels.prompts(CONFIG, batch, length, 1);
    long[][] corrupt = RandomModels.prompts(CONFIG, batch, length, 2);
    for (int i = 0; i < batch; i++) {
      corrupt[i][0] = (clean[i][0] + 1) % CONFIG.dVocab();
    }
    long[][] answers = RandomModels.prompts(CONFIG, batch, 1, 3);
    AnswerLoss loss = AnswerLoss.of(GradFunction.LOGIT, AnswerFunction.AVG_DIFF, answers, answers);
    try (PointerScope scope = new PointerScope()) {
      ModelInput input = ModelInput.ofPrompts(clean, model.device());
      if (work == Work.PLAIN) {
        model.forward(input.value(), PatchContext.NONE);
        return;
      }
      if (work == Work.ATTRIBUTION) {
        model.maskGradient(
            EdgeAttribution.resampled(input, ModelInput.ofPrompts(corrupt, model.device()), loss));
        return;
      }
      try (SourceActivations activations = model.sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
        for (Masks masks : masks()) {
          PatchContext context = PatchContext.of(activations, masks);
          switch (work) {
            case GRADIENT -> model.maskGradient(input, context, loss);
            case SEARCH -> search(input, context);
            default -> {
              try (PointerScope pass = new PointerScope()) {
                model.forward(input.value(), context);
              }
            }
          }
        }
      }
    }
  }

  private void search(ModelInput input, PatchContext context) {
    try (IncrementalRun run = model.incrementalRun(input, context)) {
      EdgeSet first = EdgeSet.of(model.graph(), List.of(model.graph().edge(0)));
      for (double value : new double[] {1, 0}) {
        IncrementalRun.Candidate candidate = run.withMasks(first, value);
        candidate.logits();
        candidate.commit();
      }
    }
  }

  private static long kilobytes(String field) throws IOException {
    Matcher line = Pattern.compile(field + ":\\s+(\\d+) kB").matcher(Files.readString(STATUS));
    if (!line.find()) {
      throw new IOException(STATUS + " has no " + field);
    }
    return Long.parseLong(line.group(1));
  }
}
