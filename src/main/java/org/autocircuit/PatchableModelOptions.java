package org.autocircuit;

import java.util.Objects;
import java.util.OptionalInt;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.pass.OutputSlice;

/**
 * Says how a model is made patchable.
 *
 * @param factorized {@code true}: an edge from every earlier node to every later one; {@code
 *     false}: the residual graph, whose edges stand for nodes
 * @param separateQkv whether a head's query, key and value inputs are destinations of their own
 * @param ungroupKeyValues whether query heads that share keys and values (grouped-query attention)
 *     have key and value destinations of their own; of no effect on other models
 * @param seqLen number of token positions with edges of their own; empty: edges hold for all
 *     positions, and prompts may have any length
 * @param outputSlice the positions whose logits a forward pass returns
 */
public record PatchableModelOptions(
    boolean factorized,
    boolean separateQkv,
    boolean ungroupKeyValues,
    OptionalInt seqLen,
    OutputSlice outputSlice) {

  private static final PatchableModelOptions DEFAULTS =
      new PatchableModelOptions(true, true, false, OptionalInt.empty(), OutputSlice.LAST_SEQ);

  /** Checks that nothing is {@code null}. */
  public PatchableModelOptions {
    Objects.requireNonNull(seqLen, "seqLen");
    Objects.requireNonNull(outputSlice, "outputSlice");
  }

  /** Options with key and value destinations for each key/value head. */
  public PatchableModelOptions(
      boolean factorized, boolean separateQkv, OptionalInt seqLen, OutputSlice outputSlice) {
    this(factorized, separateQkv, false, seqLen, outputSlice);
  }

  /**
   * Factorised, separate queries, keys and values, edges for all positions, logits of the last
   * position. (The original's {@code slice_output} is {@code None} unless given, which is {@link
   * OutputSlice#ALL} here.)
   */
  public static PatchableModelOptions defaults() {
    return DEFAULTS;
  }

  /** These options with a factorised or a residual graph. */
  public PatchableModelOptions withFactorized(boolean value) {
    return new PatchableModelOptions(value, separateQkv, ungroupKeyValues, seqLen, outputSlice);
  }

  /** These options with separate or joint queries, keys and values. */
  public PatchableModelOptions withSeparateQkv(boolean value) {
    return new PatchableModelOptions(factorized, value, ungroupKeyValues, seqLen, outputSlice);
  }

  /** These options with key and value destinations for each query head, or each key/value head. */
  public PatchableModelOptions withUngroupKeyValues(boolean value) {
    return new PatchableModelOptions(factorized, separateQkv, value, seqLen, outputSlice);
  }

  /** These options with edges for each of so many positions. */
  public PatchableModelOptions withSeqLen(int value) {
    return new PatchableModelOptions(
        factorized, separateQkv, ungroupKeyValues, OptionalInt.of(value), outputSlice);
  }

  /** These options with edges for all positions. */
  public PatchableModelOptions withoutSeqLen() {
    return new PatchableModelOptions(
        factorized, separateQkv, ungroupKeyValues, OptionalInt.empty(), outputSlice);
  }

  /** These options with the logits of other positions. */
  public PatchableModelOptions withOutputSlice(OutputSlice value) {
    return new PatchableModelOptions(factorized, separateQkv, ungroupKeyValues, seqLen, value);
  }

  /**
   * The graph that a model is given with these options.
   *
   * @throws IllegalArgumentException as {@link ModelGraph#of(ModelConfig, boolean, boolean,
   *     OptionalInt)}
   */
  public ModelGraph graph(ModelConfig config) {
    ModelGraph graph = ModelGraph.of(config, factorized, separateQkv, seqLen);
    return ungroupKeyValues ? graph.ungroupKeyValues() : graph;
  }
}
