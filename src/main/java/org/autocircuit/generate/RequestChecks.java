package org.autocircuit.generate;

import java.util.Collection;
import java.util.List;
import java.util.Set;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.graph.NearestName;
import org.autocircuit.internal.BlockHooks;
import org.autocircuit.model.TransformerConfig;

/** Says which requests a model cannot answer, before they wait. */
final class RequestChecks {

  /** Ends of the names of hook points where vectors can be added. */
  private static final List<String> STEERED =
      List.of(
          BlockHooks.RESID_PRE,
          BlockHooks.RESID_MID,
          BlockHooks.RESID_POST,
          BlockHooks.ATTN_OUT,
          BlockHooks.MLP_OUT);

  /** Ends of the names of hook points that steps do not come by, or that have keys for each. */
  private static final List<String> NOT_READ =
      List.of(
          BlockHooks.ATTN_IN,
          BlockHooks.Q_INPUT,
          BlockHooks.K_INPUT,
          BlockHooks.V_INPUT,
          BlockHooks.Q,
          BlockHooks.K,
          BlockHooks.V,
          BlockHooks.SCORES,
          BlockHooks.PATTERN);

  private final ModelGraph graph;
  private final TransformerConfig config;
  private final Set<String> hookNames;

  RequestChecks(ModelGraph graph, TransformerConfig config, Set<String> hookNames) {
    this.graph = graph;
    this.config = config;
    this.hookNames = hookNames;
  }

  int vocabulary() {
    return config.dVocab();
  }

  /** The most tokens that a sequence of a request holds: the last token is never read. */
  int capacity(GenerationRequest request) {
    long most = (long) request.promptLength() + request.stop().maxTokens() - 1;
    return (int) Math.min(most, config.nCtx());
  }

  /**
   * Refuses what does not fit.
   *
   * @throws IllegalArgumentException with what was expected and what came
   */
  void check(GenerationRequest request, boolean hasTokenizer) {
    tokens("tokens", request.prompt());
    if (request.promptLength() > config.nCtx()) {
      throw new IllegalArgumentException(
          "tokens: expected at most %s positions (n_ctx), got %s"
              .formatted(config.nCtx(), request.promptLength()));
    }
    if (!request.stop().texts().isEmpty() && !hasTokenizer) {
      throw new IllegalArgumentException(
          "stop texts: expected none, since the generator was built without a tokenizer");
    }
    stopTokens(request.stop().tokens());
    request.hooks().forEach(this::read);
    request.steering().forEach(this::steering);
    if (request.patch().isPatched()) {
      patch(request);
    }
  }

  private void tokens(String name, int[] tokens) {
    for (int i = 0; i < tokens.length; i++) {
      if (tokens[i] >= config.dVocab()) {
        throw new IllegalArgumentException(
            "%s: expected 0 to %s, got %s at position %s"
                .formatted(name, config.dVocab() - 1, tokens[i], i));
      }
    }
  }

  /**
   * Refuses tokens that no answer can end at, since the model has none such.
   *
   * @throws IllegalArgumentException with what was expected and what came
   */
  void stopTokens(Collection<Integer> ids) {
    for (int id : ids) {
      if (id < 0 || id >= config.dVocab()) {
        throw new IllegalArgumentException(
            "stop tokens: expected 0 to %s, got %s".formatted(config.dVocab() - 1, id));
      }
    }
  }

  private void read(String name) {
    hook(name);
    if (NOT_READ.stream().anyMatch(name::endsWith)) {
      throw new IllegalArgumentException(
          "reads: expected a hook point that has a value of its own for each token, got %s; passes"
                  .formatted(name)
              + " read it: ForwardRequest.withReads");
    }
  }

  private void hook(String name) {
    NearestName.require("hook point", name, hookNames);
  }

  private void steering(Steering steering) {
    hook(steering.hookName());
    if (STEERED.stream().noneMatch(steering.hookName()::endsWith)) {
      throw new IllegalArgumentException(
          "steering: expected a hook point as wide as the residual stream, one of %s of a block, got"
                  .formatted(STEERED)
              + " %s".formatted(steering.hookName()));
    }
    if (steering.size() != config.dModel()) {
      throw new IllegalArgumentException(
          "steering vector: expected %s values (d_model), got %s"
              .formatted(config.dModel(), steering.size()));
    }
  }

  private void patch(GenerationRequest request) {
    GenerationPatch patch = request.patch();
    for (GenerationPatch.Phase phase : patch.phases(request.promptLength())) {
      ModelGraph other = phase.masks().graph();
      if (!graph.equals(other)) {
        throw new IllegalArgumentException(
            "masks: expected those of a %s, got those of a %s".formatted(graph, other));
      }
      int last = Math.min(phase.end(), capacity(request));
      if (graph.seqLen().isPresent() && last > graph.seqLen().getAsInt()) {
        throw new IllegalArgumentException(
            "tokens: the graph has masks for %s positions, so prompt and answer may have at most %s"
                    .formatted(graph.seqLen().getAsInt(), graph.seqLen().getAsInt() + 1)
                + " tokens, got %s and up to %s"
                    .formatted(request.promptLength(), request.stop().maxTokens()));
      }
      if (patch.source() instanceof GenerationPatch.Source.Positions positions
          && positions.beyond() == Beyond.REFUSE
          && last > positions.length()) {
        throw new IllegalArgumentException(
            "source activations: expected them for %s positions, got %s, and what patches later ones"
                    .formatted(last, positions.length())
                + " is not said: Beyond.NONE, Beyond.HOLD_LAST, or a patch at Span.PROMPT");
      }
    }
    if (patch.source() instanceof GenerationPatch.Source.Resample resample) {
      tokens("corrupt tokens", resample.corrupt());
      if (resample.corrupt().length != request.promptLength()) {
        throw new IllegalArgumentException(
            "corrupt tokens: expected %s like the prompt, so that positions agree, got %s"
                .formatted(request.promptLength(), resample.corrupt().length));
      }
    }
  }
}
