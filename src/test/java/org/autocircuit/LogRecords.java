package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/** Says what a logger is told while this is open, and nobody else hears. */
public final class LogRecords extends Handler implements AutoCloseable {

  private final List<LogRecord> records = new ArrayList<>();
  private final Logger logger;

  /** Listens to everything. */
  public LogRecords(String name) {
    this(name, Level.ALL);
  }

  /** Listens to what is no less than so important. */
  public LogRecords(String name, Level least) {
    setLevel(least);
    logger = Logger.getLogger(name);
    logger.addHandler(this);
    logger.setUseParentHandlers(false);
  }

  /** That nothing was said. */
  public void assertNone() {
    assertThat(records).extracting(LogRecord::getMessage).isEmpty();
  }

  /** That one thing was said, with these words. */
  public void assertOne(Level level, String... words) {
    assertThat(records).hasSize(1);
    assertThat(records.get(0).getLevel()).isEqualTo(level);
    assertThat(records.get(0).getMessage()).contains(words);
  }

  @Override
  public synchronized void publish(LogRecord entry) {
    if (isLoggable(entry)) {
      records.add(entry);
    }
  }

  @Override
  public void flush() {}

  @Override
  public void close() {
    logger.removeHandler(this);
    logger.setUseParentHandlers(true);
  }
}
