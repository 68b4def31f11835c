package org.autocircuit.eval;

/** Says which prompts a circuit runs on, and which are patched in. */
public enum PatchDirection {
  /** Runs on clean prompts, patched with the corrupt ones: does the answer survive? */
  NOISING,
  /** Runs on corrupt prompts, patched with the clean ones: does the answer come back? */
  DENOISING
}
