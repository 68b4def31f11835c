package org.autocircuit.cli;

import java.io.IOException;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import java.util.Timer;
import java.util.TimerTask;
import java.util.function.LongSupplier;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import org.autocircuit.pass.Progress;

/**
 * Reports how far a phase is and how long it will take, once it has taken two seconds: with a bar
 * on a terminal, with a line now and then on one that cannot move its cursor, and not at all where
 * nobody looks. Nothing is coloured. For one thread.
 */
final class PhaseProgress implements Progress, AutoCloseable {

  private static final long QUIET_NANOS = 2_000_000_000L;
  private static final long LINE_NANOS = 10_000_000_000L;

  private final String phase;
  private final PrintWriter err;
  private final boolean interactive;
  private final LongSupplier clock;
  private final long begin;
  private long nextLine;

  /** Steps that were done before the first report, in a run that resumes. */
  private long before = -1;

  private ProgressBar bar;
  private Timer timer;

  private PhaseProgress(String phase, PrintWriter err, boolean interactive, LongSupplier clock) {
    this.phase = phase;
    this.err = err;
    this.interactive = interactive;
    this.clock = clock;
    begin = clock.getAsLong();
    nextLine = begin + QUIET_NANOS;
  }

  /** Begins a phase; the bar goes to the process's standard error. */
  static PhaseProgress of(String phase, PrintWriter err) {
    boolean interactive = !"dumb".equals(System.getenv("TERM"));
    return isTerminal()
        ? new PhaseProgress(phase, err, interactive, System::nanoTime)
        : silent(phase, err);
  }

  private static PhaseProgress silent(String phase, PrintWriter err) {
    PhaseProgress progress = new PhaseProgress(phase, err, false, System::nanoTime);
    progress.nextLine = Long.MAX_VALUE;
    return progress;
  }

  /** Begins a phase that is reported in lines, by a clock of nanoseconds. */
  static PhaseProgress lines(String phase, PrintWriter err, LongSupplier clock) {
    return new PhaseProgress(phase, err, false, clock);
  }

  /** Begins a phase of unknown length: says after two seconds, and now and then, how long it is. */
  static PhaseProgress waiting(String phase, PrintWriter err) {
    if (!isTerminal()) {
      return silent(phase, err);
    }
    return waiting(phase, err, QUIET_NANOS / 1_000_000, LINE_NANOS / 1_000_000);
  }

  /** As {@link #waiting(String, PrintWriter)}, after so many milliseconds and every so many. */
  static PhaseProgress waiting(String phase, PrintWriter err, long quiet, long line) {
    PhaseProgress progress = new PhaseProgress(phase, err, false, System::nanoTime);
    progress.timer = new Timer("autocircuit-progress", true);
    progress.timer.schedule(
        new TimerTask() {
          @Override
          public void run() {
            long now = System.nanoTime();
            err.println(
                String.format(Locale.ROOT, "%s: %.0f s ...", phase, (now - progress.begin) / 1e9));
            err.flush();
          }
        },
        quiet,
        line);
    return progress;
  }

  @Override
  public void report(long done, long total) {
    long now = clock.getAsLong();
    if (before < 0) {
      before = done - 1;
    }
    if (now < nextLine || (done >= total && bar == null)) {
      return;
    }
    if (interactive) {
      if (bar == null) {
        bar = newBar(total, Duration.ofNanos(now - begin));
      }
      bar.maxHint(total);
      bar.stepTo(done);
    } else {
      nextLine = now + LINE_NANOS;
      double seconds = (now - begin) / 1e9;
      err.println(
          String.format(
              Locale.ROOT,
              "%s: %,d of %,d (%d %%), %s, about %s left",
              phase,
              done,
              total,
              100 * done / total,
              duration(seconds),
              duration(seconds / (done - before) * (total - done))));
      err.flush();
    }
  }

  /** A time as people say it: 12 s, 3 min, 2 h 5 min. */
  static String duration(double seconds) {
    long minutes = Math.round(seconds / 60);
    if (seconds < 120) {
      return String.format(Locale.ROOT, "%.0f s", seconds);
    }
    return minutes < 120 ? minutes + " min" : "%s h %s min".formatted(minutes / 60, minutes % 60);
  }

  private ProgressBar newBar(long total, Duration elapsed) {
    PrintStream terminal = System.err;
    return new ProgressBarBuilder()
        .setTaskName(phase)
        .setInitialMax(total)
        // The time left follows from what this process has done, with the seconds without a bar.
        .startsFrom(before, elapsed)
        .setStyle(ProgressBarStyle.ASCII)
        .setConsumer(new ConsoleProgressBarConsumer(terminal))
        .clearDisplayOnFinish()
        .build();
  }

  /** Says whether standard error is a terminal; System.console() tells of the other two streams. */
  private static boolean isTerminal() {
    try {
      String file = Files.readSymbolicLink(Path.of("/proc/self/fd/2")).toString();
      return file.startsWith("/dev/pts/") || file.startsWith("/dev/tty");
    } catch (IOException | UnsupportedOperationException e) {
      return false;
    }
  }

  /** Ends the phase. Does nothing the second time. */
  @Override
  public void close() {
    if (timer != null) {
      timer.cancel();
    }
    if (bar != null) {
      bar.close();
    }
  }
}
