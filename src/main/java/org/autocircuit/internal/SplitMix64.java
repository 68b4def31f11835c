package org.autocircuit.internal;

import java.util.List;

/**
 * Random numbers that are the same on every Java platform for a seed (Steele, Lea and Flood's
 * SplitMix64, written out because the library's classes do not promise their algorithm).
 */
public final class SplitMix64 {
  private long state;

  /** Begins a sequence. */
  public SplitMix64(long seed) {
    state = seed;
  }

  /** Scatters the bits of a number. */
  public static long mix(long value) {
    long z = (value ^ (value >>> 30)) * 0xbf58476d1ce4e5b9L;
    z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
    return z ^ (z >>> 31);
  }

  /** The next 64 bits. */
  public long next() {
    state += 0x9e3779b97f4a7c15L;
    return mix(state);
  }

  /** Uniform in {@code [0, bound)}; the bias is below 2^-32 * bound. */
  public int below(int bound) {
    return (int) (((next() >>> 32) * bound) >>> 32);
  }

  /** One bit. */
  public boolean coin() {
    return next() < 0;
  }

  /** One of several, each as likely. */
  public <T> T pick(List<T> from) {
    return from.get(below(from.size()));
  }
}
