package org.autocircuit.eval;

import java.util.BitSet;
import java.util.Collection;
import java.util.Locale;
import org.autocircuit.PatchableModel;
import org.autocircuit.data.PromptPairBatch;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.internal.Stop;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.autocircuit.patch.Use;

/**
 * Says whether a circuit is complete: where some of its edges are knocked out, that is patched, a
 * complete circuit should do what the full model does with the same edges knocked out (Wang et al.
 * 2022, 2211.00593, section 4). The counterpart of the Python original's {@code
 * same_under_knockout}. All edges outside the circuit are patched with the corrupt prompts' sources
 * where the circuit runs; prompts are the clean ones. Divergences are {@link KlDivergence}, means
 * over prompts in nats. Plain Java data, immutable.
 *
 * @param circuitEdges edges of the circuit
 * @param knockouts edges of the circuit that were knocked out
 * @param divergence from the full model to the circuit, without knockouts
 * @param divergenceUnderKnockouts from the full model to the circuit, both with the knockouts; much
 *     greater than the other where the circuit lacks something
 */
public record SameUnderKnockouts(
    int circuitEdges, int knockouts, double divergence, double divergenceUnderKnockouts) {

  /**
   * Measures a circuit on all prompts.
   *
   * @param model its masks are not touched
   * @param batches at least one
   * @param knockouts those outside the circuit do not count
   * @throws IllegalArgumentException if there is no batch, or the edges are those of another graph
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN or infinite
   */
  public static SameUnderKnockouts measure(
      PatchableModel model,
      Collection<? extends PromptPairBatch> batches,
      EdgeSet circuit,
      EdgeSet knockouts) {
    if (batches.isEmpty()) {
      throw new IllegalArgumentException("batches: expected at least one, got none");
    }
    double divergence = 0;
    double underKnockouts = 0;
    int prompts = 0;
    try (Use use = model.use()) {
      for (PromptPairBatch batch : batches) {
        Stop.check();
        try (SourceActivations corrupt =
            model.sourceAblations(batch.corrupt(), BatchAblation.RESAMPLE)) {
          ModelInput clean = ModelInput.ofPrompts(batch.clean(), model.device());
          SameUnderKnockouts one = measure(model, clean, corrupt, circuit, knockouts);
          divergence += batch.size() * one.divergence;
          underKnockouts += batch.size() * one.divergenceUnderKnockouts;
          prompts += batch.size();
        }
      }
    }
    return new SameUnderKnockouts(
        circuit.size(),
        inside(circuit, knockouts).cardinality(),
        divergence / prompts,
        underKnockouts / prompts);
  }

  /**
   * Measures a circuit on one input of any kind.
   *
   * @param clean what both run on
   * @param activations what edges are patched with
   * @throws IllegalArgumentException if the edges are those of another graph
   * @throws org.autocircuit.exception.NotFiniteException if a logit is NaN or infinite
   */
  public static SameUnderKnockouts measure(
      PatchableModel model,
      ModelInput clean,
      SourceActivations activations,
      EdgeSet circuit,
      EdgeSet knockouts) {
    BitSet knockedOut = inside(circuit, knockouts);
    BitSet outside = new BitSet();
    circuit.complement().indices().forEach(outside::set);
    BitSet both = (BitSet) outside.clone();
    both.or(knockedOut);
    Run run =
        patched -> logits(model, clean, activations, EdgeSet.ofIndices(circuit.graph(), patched));
    return new SameUnderKnockouts(
        circuit.size(),
        knockedOut.cardinality(),
        KlDivergence.mean(run.patching(outside), run.patching(new BitSet())),
        KlDivergence.mean(run.patching(both), run.patching(knockedOut)));
  }

  /** The sizes and both divergences. */
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "%,d edges: KL divergence %.4f nats, %.4f with %,d of them knocked out",
        circuitEdges,
        divergence,
        divergenceUnderKnockouts,
        knockouts);
  }

  private interface Run {
    Logits patching(BitSet edges);
  }

  private static Logits logits(
      PatchableModel model, ModelInput input, SourceActivations activations, EdgeSet patched) {
    return CircuitPasses.logits(model, input, PatchContext.of(activations, Masks.ofEdges(patched)));
  }

  private static BitSet inside(EdgeSet circuit, EdgeSet knockouts) {
    if (!circuit.graph().equals(knockouts.graph())) {
      throw new IllegalArgumentException(
          "knockouts: expected edges of a %s, got those of a %s"
              .formatted(circuit.graph(), knockouts.graph()));
    }
    BitSet inside = new BitSet();
    circuit.indices().filter(knockouts::contains).forEach(inside::set);
    return inside;
  }
}
