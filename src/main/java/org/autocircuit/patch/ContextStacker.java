package org.autocircuit.patch;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Arguments;
import org.autocircuit.internal.CallScope;
import org.autocircuit.internal.TensorArrays;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/** Checks that one pass can honour several contexts, and joins their parts. For one use. */
final class ContextStacker {

  /** A mask whose sigmoid is exactly 0 in floats of 32 and of 64 bits. */
  private static final double OFF_UNDER_SIGMOID = -1000;

  private final List<PatchContext> contexts;
  private final int[] prompts;
  private final int[] positions;
  private final int total;

  /** Indices of the contexts that patch. */
  private final int[] patched;

  private final List<SourceActivations> made = new ArrayList<>();

  /**
   * Begins to stack.
   *
   * @param prompts how many each context has
   * @param positions of the longest prompt of each context; {@code null}: as many as activations
   *     have, which agree
   */
  ContextStacker(List<PatchContext> contexts, int[] prompts, int[] positions) {
    this.contexts = contexts;
    this.prompts = prompts;
    this.positions = positions;
    this.total = Arrays.stream(prompts).sum();
    this.patched =
        IntStream.range(0, contexts.size()).filter(i -> contexts.get(i).isPatched()).toArray();
  }

  /** The one context. */
  PatchContext join() {
    boolean joined = false;
    try {
      PatchContext context = joinParts();
      joined = true;
      return context;
    } finally {
      if (!joined) {
        made.forEach(SourceActivations::close);
      }
    }
  }

  /** Returns what {@link #join} copied, to be closed by whoever uses the context. */
  List<SourceActivations> made() {
    return made;
  }

  private PatchContext joinParts() {
    PatchContext.Builder builder = PatchContext.NONE.toBuilder();
    if (patched.length > 0) {
      MaskFn maskFn = contexts.get(patched[0]).maskFn();
      ModelGraph graph = masks(patched[0]).graph();
      for (int i : patched) {
        check(i, maskFn, graph);
      }
      SourceActivations activations =
          joinSources("source activations", context -> context.activations().orElse(null));
      builder.patch(activations, joinMasks(maskFn, graph)).maskFn(maskFn);
    }
    Function<PatchContext, SourceActivations> start =
        context -> context.startSourceOutputs().orElse(null);
    long starts = contexts.stream().map(start).filter(Objects::nonNull).count();
    if (starts > 0 && starts < contexts.size()) {
      throw new IllegalArgumentException(
          "start source outputs: expected those of all %s contexts or of none, got those of %s"
              .formatted(contexts.size(), starts));
    }
    return builder.startSourceOutputs(joinSources("start source outputs", start)).build();
  }

  private MaskValues masks(int i) {
    return contexts.get(i).masks().orElseThrow();
  }

  private void check(int i, MaskFn maskFn, ModelGraph graph) {
    PatchContext context = contexts.get(i);
    if (context.maskFn() != maskFn) {
      throw new IllegalArgumentException(
          "mask function: expected the same in all contexts, got %s in context %s and %s in context %s"
              .formatted(maskFn, patched[0], context.maskFn(), i));
    }
    // Draws depend on the place in the batch, so they would not be those of a pass of its own.
    if (maskFn == MaskFn.HARD_CONCRETE) {
      throw new IllegalArgumentException(
          "mask function: expected one without samples, got %s in context %s".formatted(maskFn, i));
    }
    if (context.dropout() > 0) {
      throw new IllegalArgumentException(
          "dropout: expected 0, got %s in context %s".formatted(context.dropout(), i));
    }
    // Padding would hide it.
    if (positions != null && positions[i] != graph.seqLen().orElse(positions[i])) {
      throw new IllegalArgumentException(
          "prompts: expected %s positions, as many as the graph has, got %s in context %s"
              .formatted(graph.seqLen().getAsInt(), positions[i], i));
    }
    MaskValues masks = masks(i);
    if (!masks.graph().equals(graph)) {
      throw new IllegalArgumentException(
          "masks: expected those of a %s as in context %s, got those of a %s in context %s"
              .formatted(graph, patched[0], masks.graph(), i));
    }
    if (masks instanceof MaskParameters parameters && parameters.isTraining()) {
      throw new IllegalArgumentException(
          "masks: expected values to copy, got %s that are being trained in context %s"
              .formatted(masks, i));
    }
    if (masks.examples().isPresent() && masks.examples().getAsInt() != prompts[i]) {
      throw new IllegalArgumentException(
          "masks: expected those of %s examples, as many as prompts, got those of %s in context %s"
              .formatted(prompts[i], masks.examples().getAsInt(), i));
    }
  }

  private Masks joinMasks(MaskFn maskFn, ModelGraph graph) {
    MaskValues first = masks(patched[0]);
    boolean same = contexts.stream().allMatch(each -> each.masks().orElse(null) == first);
    if (same && first.examples().isEmpty()) {
      return first instanceof Masks masks ? masks : Masks.copyOf(first);
    }
    int size = graph.maskSize();
    double[] rows = new double[Masks.size(total, size)];
    int next = 0;
    for (int i = 0; i < contexts.size(); i++) {
      int end = next + prompts[i] * size;
      if (contexts.get(i).isPatched()) {
        double[] values = masks(i).toArray();
        for (int from = 0; next < end; next += size) {
          System.arraycopy(values, from, rows, next, size);
          from = (from + size) % values.length;
        }
      } else {
        Arrays.fill(rows, next, end, maskFn == MaskFn.SIGMOID ? OFF_UNDER_SIGMOID : 0);
        next = end;
      }
    }
    return Masks.ofRows(graph, total, rows);
  }

  /**
   * Joins tensors {@code [n_srcs, 1 or prompts, seq, d_model]}; {@code null} if no context has any.
   *
   * @param part what a context has; {@code null}: any values will do
   */
  private SourceActivations joinSources(
      String name, Function<PatchContext, SourceActivations> part) {
    List<SourceActivations> distinct =
        contexts.stream().map(part).filter(Objects::nonNull).distinct().toList();
    if (distinct.isEmpty()) {
      return null;
    }
    try (CallScope scope = new CallScope()) {
      Tensor first = distinct.get(0).tensor();
      Tensor[] tensors = new Tensor[contexts.size()];
      long seq = positions == null ? first.size(2) : Arrays.stream(positions).max().orElseThrow();
      for (int i = 0; i < tensors.length; i++) {
        SourceActivations own = part.apply(contexts.get(i));
        if (own != null) {
          tensors[i] = own.tensor();
          long ownSeq = positions == null ? seq : positions[i];
          check("%s of context %s".formatted(name, i), tensors[i], first, prompts[i], ownSeq);
        }
      }
      boolean fits = first.size(2) == seq && (first.size(1) == 1 || tensors.length == 1);
      if (fits && distinct.size() == 1) {
        return distinct.get(0);
      }
      TensorVector rows = new TensorVector();
      for (int i = 0; i < tensors.length; i++) {
        Tensor own = tensors[i] == null ? zero(first) : padded(tensors[i], seq);
        rows.push_back(own.expand(first.size(0), prompts[i], seq, first.size(3)));
      }
      SourceActivations joined = SourceActivations.withoutFullyPatched(torch.cat(rows, 1));
      made.add(joined);
      return joined;
    }
  }

  private static void check(String name, Tensor tensor, Tensor first, int prompts, long seq) {
    Arguments.shape(
        name,
        tensor,
        "[n_srcs, 1 or prompts, seq, d_model]",
        first.size(0),
        tensor.size(1) == 1 ? 1 : prompts,
        seq,
        first.size(3));
    Arguments.type(name, tensor, first.scalar_type().intern());
    Arguments.device(name, tensor, Arguments.deviceOf(first));
  }

  /** Returns what is there for prompts that are not patched; as small as it can be. */
  private static Tensor zero(Tensor like) {
    return TensorArrays.zeros(like.scalar_type().intern(), Arguments.deviceOf(like), 1, 1, 1, 1);
  }

  /** Prompts are padded on the left, and nobody sees what is there. */
  private static Tensor padded(Tensor tensor, long seq) {
    long missing = seq - tensor.size(2);
    return missing == 0 ? tensor : torch.constant_pad_nd(tensor, 0, 0, missing, 0);
  }
}
