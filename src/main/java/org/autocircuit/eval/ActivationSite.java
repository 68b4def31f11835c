package org.autocircuit.eval;

import org.autocircuit.internal.BlockHooks;
import org.autocircuit.model.TransformerConfig;

/** Says which activations of a transformer are put into another run. */
public enum ActivationSite {
  /** The residual stream before each block. */
  RESIDUAL("residual stream before each block", "block", BlockHooks.RESID_PRE),
  /** The outputs of attention, all heads of a block together. */
  ATTENTION("attention output", "attention", BlockHooks.ATTN_OUT),
  /** The outputs of MLPs. */
  MLP("MLP output", "MLP", BlockHooks.MLP_OUT),
  /** The outputs of each head. */
  HEADS("head output", "A", BlockHooks.RESULT, BlockHooks.ATTN_OUT);

  private final String words;
  private final String row;
  private final String read;
  private final String hook;

  ActivationSite(String words, String row, String hook) {
    this(words, row, hook, hook);
  }

  ActivationSite(String words, String row, String read, String hook) {
    this.words = words;
    this.row = row;
    this.read = read;
    this.hook = hook;
  }

  /** Returns what they are, for tables and pictures. */
  public String words() {
    return words;
  }

  /**
   * The hook point where they are read: {@code [batch, seq, d_model]}, of heads {@code [batch, seq,
   * heads, ..]}.
   */
  String read(int block) {
    return BlockHooks.of(block, read);
  }

  /** The hook point where a difference is added, to put another activation in. */
  String hook(int block) {
    return BlockHooks.of(block, hook);
  }

  /** The activations of each block. */
  int perBlock(TransformerConfig config) {
    return this == HEADS ? config.nHeads() : 1;
  }

  /** Names an activation: {@code MLP 0}, or as the graph names a head, {@code A0.1}. */
  String name(int block, int index) {
    return this == HEADS ? row + block + "." + index : row + " " + block;
  }
}
