package org.autocircuit.patch;

/** Which edges are patched when a circuit is run. */
public enum PatchType {
  /** The circuit's own edges: does patching them change the answer as patching everything does? */
  EDGE_PATCH,
  /** All edges but the circuit's: does the circuit alone still give the answer? */
  TREE_PATCH
}
