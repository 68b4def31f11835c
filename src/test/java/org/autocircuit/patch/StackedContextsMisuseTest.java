package org.autocircuit.patch;

import java.util.List;
import java.util.stream.Stream;
import org.autocircuit.MisuseTable;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.mode.TrainMaskMode;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Tests that a pass refuses what it cannot honour, by a Java exception that names what and where.
 */
class StackedContextsMisuseTest {

  private final MisuseTable table = new MisuseTable();

  @TestFactory
  Stream<DynamicTest> everyMisuseIsNamed() {
    counts();
    masks();
    activations();
    results();
    return table.tests();
  }

  /** Stacks, and closes what should not have been made. */
  private static void stack(List<PatchContext> contexts, int... prompts) {
    try (StackedContexts stack = PatchContext.stack(contexts, prompts)) {
      stack.context();
    }
  }

  private static void stack(List<PatchContext> contexts, List<long[][]> prompts) {
    try (StackedContexts stack = PatchContext.stack(contexts, prompts)) {
      stack.context();
    }
  }

  /** The subject's context, with two prompts, and then another one. */
  private static void stackWith(MisuseTable.Subject s, PatchContext second) {
    stack(List.of(s.context, second), 2, 2);
  }

  /** Activations that serve any number of prompts, with masks of a value. */
  private static PatchContext wide(MisuseTable.Subject s, double mask) {
    SourceActivations mean = SourceActivations.of(s.activations.tensor().narrow(1, 0, 1));
    return PatchContext.of(mean, Masks.uniform(s.graph, mask));
  }

  private static void stackWith(MisuseTable.Subject s, Tensor activations) {
    try (SourceActivations wrong = SourceActivations.of(activations)) {
      stackWith(s, PatchContext.of(wrong, s.masks));
    }
  }

  private void counts() {
    table.illegal("no context", s -> stack(List.of()), "contexts", "at least one");
    table.illegal(
        "more prompts than there are numbers",
        s -> stack(List.of(s.context, s.context), 2_000_000_000, 2_000_000_000),
        "prompts",
        "4000000000");
    table.illegal(
        "masks of more prompts than an array holds",
        s -> stack(List.of(wide(s, 0.1), wide(s, 0.2)), 2_000_000, 2_000_000),
        "masks",
        "4000000");
    table.illegal(
        "another number of numbers",
        s -> stack(List.of(s.context, s.context), 2),
        "prompts",
        "2 contexts",
        "those of 1");
    table.illegal(
        "another number of prompts than contexts",
        s -> stack(List.of(s.context), List.of(new long[2][4], new long[2][4])),
        "prompts",
        "1 contexts",
        "those of 2");
    table.illegal(
        "prompts of another number of positions than the activations",
        s -> stack(List.of(PatchContext.NONE, s.context), List.of(new long[1][4], new long[2][3])),
        "source activations of context 1",
        "[9, 2, 3, 12]",
        "[9, 2, 4, 12]");
    table.illegal(
        "other prompts than those that were stacked",
        s -> {
          try (StackedContexts stack = PatchContext.stack(List.of(s.context), 2)) {
            stack.join(List.<long[][]>of(new long[3][4]));
          }
        },
        "prompts",
        "[2]",
        "[3]");
    table.illegal(
        "a context without prompts",
        s -> stack(List.of(s.context, PatchContext.NONE), 2, 0),
        "prompts",
        "got 0 in context 1");
    table.illegal(
        "another number of prompts than activations",
        s -> stack(List.of(s.context, s.context), 2, 3),
        "source activations of context 1",
        "[9, 3, 4, 12]",
        "[9, 2, 4, 12]");
    table.illegal(
        "one prompt each by default", s -> stack(List.of(s.context)), "source activations");
    table.illegal(
        "a batch of another size than the stack",
        s -> {
          try (StackedContexts stack = PatchContext.stack(List.of(s.context, s.context), 2, 2)) {
            s.model.forward(s.tokens, stack.context());
          }
        },
        "source activations",
        "[9, 2, 4, 12]",
        "[9, 4, 4, 12]");
  }

  private void masks() {
    table.illegal(
        "two mask functions",
        s -> stackWith(s, s.context.toBuilder().maskFn(MaskFn.SIGMOID).build()),
        "mask function",
        "NONE in context 0",
        "SIGMOID in context 1");
    table.illegal(
        "samples",
        s -> stack(List.of(s.context.toBuilder().maskFn(MaskFn.HARD_CONCRETE).build()), 2),
        "mask function",
        "HARD_CONCRETE in context 0");
    table.illegal(
        "dropout",
        s -> stackWith(s, s.context.toBuilder().dropout(0.25).build()),
        "dropout",
        "0.25 in context 1");
    table.illegal(
        "masks of two graphs",
        s ->
            stackWith(
                s,
                PatchContext.of(
                    s.activations,
                    Masks.uniform(ModelGraph.of(MisuseTable.CONFIG, true, false), 0))),
        "masks",
        "in context 0",
        "in context 1");
    table.illegal(
        "masks of another number of examples",
        s ->
            stackWith(
                s,
                PatchContext.of(
                    s.activations, Masks.perExample(s.graph, new double[3][s.graph.maskSize()]))),
        "2 examples",
        "3 in context 1");
    table.illegal(
        "masks that are being trained",
        s -> {
          try (MaskParameters parameters = s.model.newMaskParameters();
              TrainMaskMode training = s.model.trainMaskMode(parameters)) {
            stackWith(s, PatchContext.of(s.activations, parameters));
          }
        },
        "trained in context 1");
    table.state(
        "closed masks",
        s -> {
          MaskParameters parameters = s.model.newMaskParameters();
          parameters.close();
          stackWith(s, PatchContext.of(s.activations, parameters));
        },
        "MaskParameters is closed");
  }

  private void activations() {
    table.illegal(
        "activations of another number of sources",
        s -> stackWith(s, s.activations.tensor().narrow(0, 0, 3)),
        "source activations of context 1",
        "[3, 2, 4, 12]");
    table.illegal(
        "activations of another width",
        s -> stackWith(s, s.activations.tensor().narrow(3, 0, 5)),
        "source activations of context 1",
        "[9, 2, 4, 5]");
    table.illegal(
        "activations of another type",
        s -> stackWith(s, s.activations.tensor().to(ScalarType.Double)),
        "source activations of context 1",
        "Float",
        "Double");
    table.illegal(
        "activations on another device",
        s -> stackWith(s, s.activations.tensor().to(new Device("meta"), ScalarType.Float)),
        "source activations of context 1",
        "cpu",
        "meta");
    table.illegal(
        "activations of other positions than the others",
        s -> stackWith(s, s.activations.tensor().narrow(2, 0, 3)),
        "source activations of context 1",
        "[9, 2, 4, 12]",
        "[9, 2, 3, 12]");
    table.illegal(
        "prompts of other positions than the graph has",
        s -> {
          Masks masks = Masks.uniform(ModelGraph.of(MisuseTable.CONFIG, true, true, 4), 0);
          try (SourceActivations less =
              SourceActivations.of(s.activations.tensor().narrow(2, 0, 3))) {
            stack(
                List.of(PatchContext.of(s.activations, masks), PatchContext.of(less, masks)),
                List.of(new long[2][4], new long[2][3]));
          }
        },
        "prompts",
        "4 positions",
        "3 in context 1");
    table.state(
        "closed activations",
        s -> {
          s.activations.close();
          stack(List.of(s.context, s.context), 2, 2);
        },
        "SourceActivations is closed");
    table.illegal(
        "source outputs before a block for one of two",
        s -> stackWith(s, s.context.toBuilder().startSourceOutputs(s.activations).build()),
        "start source outputs",
        "all 2 contexts",
        "those of 1");
  }

  private void results() {
    table.illegal(
        "results of another number of prompts",
        s -> {
          try (StackedContexts stack = PatchContext.stack(List.of(s.context), 2)) {
            stack.split(s.floats(3, 5));
          }
        },
        "results",
        "2 prompts",
        "3 rows");
    table.illegal(
        "a single number as results",
        s -> {
          try (StackedContexts stack = PatchContext.stack(List.of(s.context), 2)) {
            stack.split(s.floats());
          }
        },
        "2 prompts");
    table.illegal(
        "arrays of another number of prompts",
        s -> {
          try (StackedContexts stack = PatchContext.stack(List.of(s.context), 2)) {
            stack.split(new float[1][5]);
          }
        },
        "2 prompts",
        "1 rows");
  }
}
