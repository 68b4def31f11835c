package org.autocircuit.internal;

import java.util.List;
import java.util.stream.IntStream;

/**
 * Puts together names of the hook points of blocks, such as {@code blocks.1.attn.hook_pattern}, and
 * takes them apart. Which of them a model has, C++ says.
 */
public final class BlockHooks {

  public static final String RESID_PRE = "hook_resid_pre";
  public static final String RESID_MID = "hook_resid_mid";
  public static final String RESID_POST = "hook_resid_post";
  public static final String ATTN_OUT = "hook_attn_out";
  public static final String MLP_OUT = "hook_mlp_out";
  public static final String ATTN_IN = "hook_attn_in";
  public static final String Q_INPUT = "hook_q_input";
  public static final String K_INPUT = "hook_k_input";
  public static final String V_INPUT = "hook_v_input";
  public static final String Q = "attn.hook_q";
  public static final String K = "attn.hook_k";
  public static final String V = "attn.hook_v";
  public static final String SCORES = "attn.hook_attn_scores";
  public static final String PATTERN = "attn.hook_pattern";
  public static final String RESULT = "attn.hook_result";

  private static final String BLOCKS = "blocks.";

  private BlockHooks() {}

  /** Names a hook point of a block. */
  public static String of(int block, String hook) {
    return of(Integer.toString(block), hook);
  }

  /** Names it with something else in the place of the number. */
  public static String of(String block, String hook) {
    return BLOCKS + block + "." + hook;
  }

  /** Names the same hook point of every block, from the first. */
  public static List<String> ofAll(int blocks, String hook) {
    return IntStream.range(0, blocks).mapToObj(block -> of(block, hook)).toList();
  }

  /**
   * Returns the block of a hook point.
   *
   * @param name that of one in a block
   */
  public static int block(String name) {
    return Integer.parseInt(name.substring(BLOCKS.length(), name.indexOf('.', BLOCKS.length())));
  }
}
