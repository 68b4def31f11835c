package org.autocircuit;

import java.util.Objects;
import java.util.OptionalInt;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.Components;
import org.autocircuit.model.ModelConfig;
import org.autocircuit.pass.OutputSlice;

/**
 * Says how a model is made patchable. Immutable; {@link #defaults()} with {@code with} methods
 * makes others.
 */
public final class PatchableModelOptions {

  private final boolean factorized;
  private final boolean separateQkv;
  private final boolean ungroupKeyValues;
  private final OptionalInt seqLen;
  private final OutputSlice outputSlice;

  private static final PatchableModelOptions DEFAULTS =
      new PatchableModelOptions(true, true, false, OptionalInt.empty(), OutputSlice.LAST_SEQ);

  private PatchableModelOptions(
      boolean factorized,
      boolean separateQkv,
      boolean ungroupKeyValues,
      OptionalInt seqLen,
      OutputSlice outputSlice) {
    Objects.requireNonNull(outputSlice, "outputSlice");
    this.factorized = factorized;
    this.separateQkv = separateQkv;
    this.ungroupKeyValues = ungroupKeyValues;
    this.seqLen = seqLen;
    this.outputSlice = outputSlice;
  }

  /**
   * Returns whether there is an edge from every earlier node to every later one; otherwise the
   * graph is the residual one, whose edges stand for nodes.
   */
  public boolean factorized() {
    return factorized;
  }

  /** Returns whether a head's query, key and value inputs are destinations of their own. */
  public boolean separateQkv() {
    return separateQkv;
  }

  /**
   * Returns whether query heads that share keys and values (grouped-query attention) have key and
   * value destinations of their own; of no effect on other models.
   */
  public boolean ungroupKeyValues() {
    return ungroupKeyValues;
  }

  /**
   * Returns the number of token positions with edges of their own; empty: edges hold for all
   * positions, and prompts may have any length.
   */
  public OptionalInt seqLen() {
    return seqLen;
  }

  /** Returns the positions whose logits a forward pass returns. */
  public OutputSlice outputSlice() {
    return outputSlice;
  }

  /**
   * Factorised, separate queries, keys and values, edges for all positions, logits of the last
   * position. (The original's {@code slice_output} is {@code None} unless given, which is {@link
   * OutputSlice#ALL} here.)
   */
  public static PatchableModelOptions defaults() {
    return DEFAULTS;
  }

  /** The options that a model was made patchable with. */
  static PatchableModelOptions of(ModelGraph graph, OutputSlice slice) {
    return new PatchableModelOptions(
        graph.factorized(), graph.separateQkv(), graph.ungroupedKeyValues(), graph.seqLen(), slice);
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
   * @throws IllegalArgumentException as {@link ModelGraph#of(ModelConfig, boolean, boolean, int)}
   */
  public ModelGraph graph(ModelConfig config) {
    ModelGraph graph =
        seqLen.isPresent()
            ? ModelGraph.of(config, factorized, separateQkv, seqLen.getAsInt())
            : ModelGraph.of(config, factorized, separateQkv);
    return ungroupKeyValues ? graph.ungroupKeyValues() : graph;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof PatchableModelOptions that && components().equals(that.components());
  }

  @Override
  public int hashCode() {
    return components().hashCode();
  }

  @Override
  public String toString() {
    return "PatchableModelOptions" + components();
  }

  private Components components() {
    return Components.of(
        "factorized",
        factorized,
        "separateQkv",
        separateQkv,
        "ungroupKeyValues",
        ungroupKeyValues,
        "seqLen",
        seqLen,
        "outputSlice",
        outputSlice);
  }
}
