package org.autocircuit.generate;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.Masks;

/**
 * Computes what {@link HashEngine}'s model answers to one request, from the first position again
 * for each token: no cache, no parts of prompts, nobody beside.
 */
final class HashOracle {

  /** Something that patches a position; {@code null}: nothing. */
  interface MasksAt {
    Masks at(int position);
  }

  private final int[] prompt;
  private final int[] corrupt;
  private final boolean follows;
  private final MasksAt masks;
  private final List<Steering> steering;
  private final Sampling sampling;

  /**
   * Describes a request in words of its own.
   *
   * @param corrupt {@code null}: zeros patch
   */
  HashOracle(
      int[] prompt,
      int[] corrupt,
      boolean follows,
      MasksAt masks,
      List<Steering> steering,
      Sampling sampling) {
    this.prompt = prompt;
    this.corrupt = corrupt;
    this.follows = follows;
    this.masks = masks;
    this.steering = steering;
    this.sampling = sampling;
  }

  /** The ids of an answer of so many tokens. */
  int[] answer(int count) {
    int[] tokens = prompt;
    int[] donor = corrupt;
    for (int step = 0; step < count; step++) {
      long[] donorStates = donor == null ? new long[tokens.length] : plain(donor);
      long state = 0;
      for (int p = 0; p < tokens.length; p++) {
        Masks here = masks.at(p);
        long patch =
            here == null
                ? 0
                : HashEngine.patch(
                    HashEngine.masks(here, MaskFn.NONE, 0), donor == null ? 0 : donorStates[p]);
        state = HashEngine.state(state, tokens[p], patch, added(p));
      }
      int id = sampling.sampler().next(HashEngine.logits(state), step);
      tokens = with(tokens, id);
      if (donor != null) {
        long last = donorStates[donorStates.length - 1];
        donor = with(donor, follows ? id : sampling.sampler().next(HashEngine.logits(last), step));
      }
    }
    return Arrays.copyOfRange(tokens, prompt.length, tokens.length);
  }

  private static long[] plain(int[] tokens) {
    long[] states = new long[tokens.length];
    long state = 0;
    for (int p = 0; p < tokens.length; p++) {
      state = HashEngine.state(state, tokens[p], 0, Map.of());
      states[p] = state;
    }
    return states;
  }

  private Map<String, float[]> added(int position) {
    Map<String, float[]> added = new LinkedHashMap<>();
    for (Steering each : steering) {
      int end = each.span().end() == Span.ANSWER_BEGIN ? prompt.length : each.span().end();
      int begin = each.span().begin() == Span.ANSWER_BEGIN ? prompt.length : each.span().begin();
      if (position >= begin && position < end) {
        float[] values = each.values();
        added.merge(
            each.hookName(),
            values,
            (a, b) -> {
              float[] sum = new float[a.length];
              for (int i = 0; i < a.length; i++) {
                sum[i] = a[i] + b[i];
              }
              return sum;
            });
      }
    }
    return added;
  }

  private static int[] with(int[] tokens, int id) {
    int[] more = Arrays.copyOf(tokens, tokens.length + 1);
    more[tokens.length] = id;
    return more;
  }
}
