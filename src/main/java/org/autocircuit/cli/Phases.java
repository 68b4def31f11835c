package org.autocircuit.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Times the parts of a command. For one thread. */
final class Phases {

  private record Phase(String name, long nanos) {}

  private final List<Phase> phases = new ArrayList<>();
  private long begin = System.nanoTime();

  /** Ends a phase, which began where the last one ended. */
  void end(String name) {
    long now = System.nanoTime();
    phases.add(new Phase(name, now - begin));
    begin = now;
  }

  /** All phases and their sum in one line. */
  @Override
  public String toString() {
    StringBuilder text = new StringBuilder();
    long total = 0;
    for (Phase phase : phases) {
      text.append(phase.name()).append(' ').append(seconds(phase.nanos())).append(", ");
      total += phase.nanos();
    }
    return text.append("in all ").append(seconds(total)).toString();
  }

  private static String seconds(long nanos) {
    return String.format(Locale.ROOT, "%.2f s", nanos / 1e9);
  }
}
