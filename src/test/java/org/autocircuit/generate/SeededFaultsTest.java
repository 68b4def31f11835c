package org.autocircuit.generate;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.function.Function;
import java.util.function.Supplier;
import org.autocircuit.PatchableModel;
import org.autocircuit.RandomModels;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.Precision;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ForwardRequest;
import org.autocircuit.pass.OutputSlice;
import org.autocircuit.pass.PlanPolicy;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Logits of patched answers would tell if something were wrong with the steps: each fault that is
 * put into them misses uncached passes by more than a hundred times what is allowed.
 */
class SeededFaultsTest {

  private static final int PROMPT = 9;
  private static final int ANSWER = 6;
  private static final int COMPUTED = PROMPT + ANSWER - 1;

  /** Something wrong with the chunks of steps. */
  @SuppressWarnings("ImmutableEnumChecker") // suppliers without state
  private enum Fault {
    /** Keys and values of a prompt's first parts are those of the plain model. */
    UNPATCHED_KEYS(() -> Fault::unpatched),
    /** Donors compute each token one position late. */
    DONOR_OFF_BY_ONE(LateDonors::new),
    /** Rows get the masks of the next one. */
    SWAPPED_MASKS(() -> Fault::swapped);

    /** Begins to do it. */
    final Supplier<Function<List<StepEngine.Chunk>, List<StepEngine.Chunk>>> begin;

    Fault(Supplier<Function<List<StepEngine.Chunk>, List<StepEngine.Chunk>>> begin) {
      this.begin = begin;
    }

    private static List<StepEngine.Chunk> unpatched(List<StepEngine.Chunk> chunks) {
      return chunks.stream()
          .map(each -> each.wantsLogits() ? each : with(each, each.tokens(), null))
          .toList();
    }

    private static List<StepEngine.Chunk> swapped(List<StepEngine.Chunk> chunks) {
      List<StepEngine.Handle> sets =
          new ArrayList<>(
              new LinkedHashSet<>(
                  chunks.stream()
                      .map(StepEngine.Chunk::masks)
                      .filter(masks -> masks != null)
                      .toList()));
      return chunks.stream()
          .map(
              each ->
                  each.masks() == null
                      ? each
                      : with(
                          each,
                          each.tokens(),
                          sets.get((sets.indexOf(each.masks()) + 1) % sets.size())))
          .toList();
    }
  }

  /** Remembers the last token that each donor was given. */
  private static final class LateDonors
      implements Function<List<StepEngine.Chunk>, List<StepEngine.Chunk>> {

    private final Map<StepEngine.Handle, Integer> last = new HashMap<>();

    @Override
    public List<StepEngine.Chunk> apply(List<StepEngine.Chunk> chunks) {
      List<StepEngine.Chunk> late = new ArrayList<>(chunks);
      chunks.stream()
          .filter(each -> each.donor() >= 0)
          .mapToInt(StepEngine.Chunk::donor)
          .forEach(
              donor -> {
                StepEngine.Chunk chunk = chunks.get(donor);
                int[] tokens = chunk.tokens().clone();
                System.arraycopy(chunk.tokens(), 0, tokens, 1, tokens.length - 1);
                tokens[0] = last.getOrDefault(chunk.sequence(), tokens[0]);
                last.put(chunk.sequence(), chunk.tokens()[tokens.length - 1]);
                late.set(donor, with(chunk, tokens, null));
              });
      return late;
    }
  }

  /** A chunk with other tokens and masks. */
  private static StepEngine.Chunk with(
      StepEngine.Chunk chunk, int[] tokens, StepEngine.Handle masks) {
    return new StepEngine.Chunk(
        chunk.sequence(),
        chunk.position(),
        tokens,
        chunk.wantsLogits(),
        chunk.wantsReads(),
        masks,
        masks == null ? -1 : chunk.donor(),
        masks == null ? null : chunk.constant(),
        chunk.added());
  }

  /** One request with a given answer, and what uncached passes say of it. */
  private static final class Case {
    private final PatchableModel model;
    private final long[] prompt;
    private final long[] corrupt;
    private final long[] answer;
    private final Masks masks;
    private final List<double[]> seen = new ArrayList<>();

    Case(PatchableModel model, int seed) {
      this.model = model;
      TransformerConfig config = (TransformerConfig) model.config();
      prompt = RandomModels.prompts(config, 1, PROMPT, seed)[0];
      corrupt = RandomModels.prompts(config, 1, PROMPT, seed + 1)[0];
      answer = RandomModels.prompts(config, 1, ANSWER, seed + 2)[0];
      masks = Masks.of(model.graph(), RandomModels.masks(model.graph(), seed));
    }

    GenerationRequest request() {
      return GenerationRequest.of(prompt)
          .withPatch(GenerationPatch.resample(corrupt, masks, Donor.FOLLOWS))
          .withStop(Stop.after(ANSWER))
          .withSampler(
              () ->
                  (logits, step) -> {
                    seen.add(logits.clone());
                    return (int) answer[step];
                  });
    }

    /** The largest difference in parts of the largest value. */
    double difference() {
      double most = 0;
      double largest = 0;
      try (PointerScope scope = new PointerScope();
          SourceActivations sources =
              model.sourceAblations(new long[][] {joined(corrupt)}, BatchAblation.RESAMPLE)) {
        Tensor all =
            model
                .forward(
                    ForwardRequest.of(new long[][] {joined(prompt)})
                        .withContext(PatchContext.of(sources, masks))
                        .withOutputSlice(OutputSlice.ALL)
                        .withPlanPolicy(PlanPolicy.REFERENCE)
                        .withGrad(false))
                .logits();
        for (int step = 0; step < ANSWER; step++) {
          double[] want = TensorArrays.doubles(all.select(0, 0).select(0, PROMPT - 1 + step));
          for (int i = 0; i < want.length; i++) {
            most = Math.max(most, Math.abs(want[i] - seen.get(step)[i]));
            largest = Math.max(largest, Math.abs(want[i]));
          }
        }
      }
      return most / largest;
    }

    private long[] joined(long[] begin) {
      long[] tokens = Arrays.copyOf(begin, COMPUTED);
      System.arraycopy(answer, 0, tokens, PROMPT, ANSWER - 1);
      return tokens;
    }
  }

  @ParameterizedTest
  @EnumSource
  void everyFaultIsSeen(GeneratingModel of) {
    of.use(
        Precision.FLOAT64,
        model -> {
          double tolerance = model.precision() == Precision.FLOAT64 ? 1e-9 : 1e-5;
          assertThat(differences(model, chunks -> chunks))
              .allSatisfy(difference -> assertThat(difference).isLessThan(tolerance));
          for (Fault fault : Fault.values()) {
            assertThat(differences(model, fault.begin.get()))
                .as("%s", fault)
                .allSatisfy(difference -> assertThat(difference).isGreaterThan(100 * tolerance));
          }
        });
  }

  /** Of two requests that run together. */
  private static List<Double> differences(
      PatchableModel model, Function<List<StepEngine.Chunk>, List<StepEngine.Chunk>> change) {
    CountDownLatch submitted = new CountDownLatch(1);
    EngineDouble engine =
        new EngineDouble(NativeStepEngine.of(model)) {
          @Override
          public Output step(List<Chunk> chunks, List<String> reads) {
            try {
              submitted.await();
            } catch (InterruptedException e) {
              throw new IllegalStateException(e);
            }
            return super.step(change.apply(chunks), reads);
          }
        };
    RequestChecks checks =
        new RequestChecks(
            model.graph(),
            (TransformerConfig) model.config(),
            new LinkedHashSet<>(model.hookNames()));
    List<Case> cases = List.of(new Case(model, 10), new Case(model, 20));
    try (Generator generator = Generator.builder(model).chunkTokens(4).build(engine, checks)) {
      List<Generation> running =
          cases.stream().map(each -> generator.submit(each.request())).toList();
      submitted.countDown();
      running.forEach(each -> each.result().join());
    }
    return cases.stream().map(Case::difference).toList();
  }
}
