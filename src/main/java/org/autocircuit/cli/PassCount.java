package org.autocircuit.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.autocircuit.internal.Stop;

/**
 * Counts passes by the events that they leave in the flight recorder, of the whole process.
 *
 * @param forwards passes without a gradient
 * @param gradients passes with one
 */
record PassCount(long forwards, long gradients) {

  private static final String FORWARD = "org.autocircuit.Forward";
  private static final String GRADIENT = "org.autocircuit.Gradient";

  /** Runs a computation and counts its passes. */
  static PassCount of(Runnable computation) {
    try (Recording recording = new Recording()) {
      recording.enable(FORWARD).withoutThreshold();
      recording.enable(GRADIENT).withoutThreshold();
      recording.start();
      computation.run();
      recording.stop();
      Path file = Files.createTempFile("autocircuit", ".jfr");
      try {
        recording.dump(file);
        return count(file);
      } finally {
        Files.delete(file);
      }
    } catch (IllegalStateException e) {
      Stop.check(); // the flight recorder ends before others do, and says so in its own words
      throw e;
    } catch (IOException e) {
      throw new UncheckedIOException("passes could not be counted: " + e.getMessage(), e);
    }
  }

  private static PassCount count(Path file) throws IOException {
    long forwards = 0;
    long gradients = 0;
    try (RecordingFile events = new RecordingFile(file)) {
      while (events.hasMoreEvents()) {
        RecordedEvent event = events.readEvent();
        String name = event.getEventType().getName();
        forwards += name.equals(FORWARD) ? 1 : 0;
        gradients += name.equals(GRADIENT) ? 1 : 0;
      }
    }
    return new PassCount(forwards, gradients);
  }
}
