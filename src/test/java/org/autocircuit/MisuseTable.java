package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.DynamicTest;

/** A table of wrong calls, each with the exception that it must end in. */
public final class MisuseTable {

  public static final TransformerConfig CONFIG = RandomModels.SMALL;

  /** Says what the wrong calls are made on. */
  public static final class Subject implements AutoCloseable {

    public final PatchableModel model =
        RandomModels.patchable(CONFIG, Precision.FLOAT32, PatchableModelOptions.defaults(), 5);
    public final ModelGraph graph = model.graph();
    public final Tensor tokens = RandomModels.tokens(CONFIG, 2, 4, 1);
    public final SourceActivations activations =
        model.sourceAblations(tokens, BatchAblation.RESAMPLE);
    public final Masks masks = Masks.uniform(graph, 0.5);
    public final PatchContext context = PatchContext.of(activations, masks);

    public AnswerLoss loss(long[][] answers, long[][] wrong) {
      return AnswerLoss.of(GradFunction.LOGIT, AnswerFunction.AVG_DIFF, answers, wrong);
    }

    public Tensor floats(long... shape) {
      return torch.zeros(shape);
    }

    @Override
    public void close() {
      activations.close();
      model.close();
    }
  }

  private record Misuse(
      String name,
      Consumer<Subject> call,
      Class<? extends RuntimeException> type,
      List<String> message) {}

  private final List<Misuse> rows = new ArrayList<>();

  public void illegal(String name, Consumer<Subject> call, String... message) {
    add(name, call, IllegalArgumentException.class, message);
  }

  public void state(String name, Consumer<Subject> call, String... message) {
    add(name, call, IllegalStateException.class, message);
  }

  public void add(
      String name,
      Consumer<Subject> call,
      Class<? extends RuntimeException> type,
      String... message) {
    rows.add(new Misuse(name, call, type, List.of(message)));
  }

  public Stream<DynamicTest> tests() {
    return rows.stream().map(row -> DynamicTest.dynamicTest(row.name, () -> check(row)));
  }

  private static void check(Misuse misuse) {
    try (PointerScope scope = new PointerScope();
        Subject subject = new Subject()) {
      double[] before = TensorArrays.doubles(subject.model.weights().get("embed.W_E"));
      Throwable thrown = catchThrowable(() -> misuse.call.accept(subject));
      assertThat(thrown)
          .isInstanceOf(misuse.type)
          .hasMessageContainingAll(misuse.message.toArray(String[]::new));
      assertThat(thrown.getMessage()).doesNotContain("Exception raised from", "frame #", ".so");
      if (!subject.model.isClosed()) {
        // The model is as usable as before.
        assertThat(subject.model.openScopes()).isEmpty();
        assertThat(TensorArrays.doubles(subject.model.weights().get("embed.W_E")))
            .isEqualTo(before);
        assertThat(subject.model.forward(subject.tokens).size(1)).isEqualTo(CONFIG.dVocab());
      }
    }
  }
}
