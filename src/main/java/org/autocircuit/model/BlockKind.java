package org.autocircuit.model;

/** Says how attention and MLP of a block stand to each other. */
public enum BlockKind {
  /** The MLP reads the residual stream after attention has added to it. */
  SEQUENTIAL,
  /** Both read the same residual stream (GPT-J, GPT-NeoX). */
  PARALLEL,
  /** There is no MLP. */
  ATTENTION_ONLY
}
