package org.autocircuit.generate;

import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/** Collects the chunks of one step, and the requests that take part. */
final class StepDraft {

  private final List<StepEngine.Chunk> chunks = new ArrayList<>();
  private final List<ActiveRequest> rows = new ArrayList<>();
  private final Set<String> reads = new LinkedHashSet<>();
  private final Set<StepEngine.Handle> masks = new LinkedHashSet<>();
  private int logitRows;
  private int readRows;
  private int decodeRows;
  private int prefillTokens;
  private int largestChunk;
  private int patchedRows;
  private int donors;

  /** Adds a request, whose chunks have been added. */
  void addRow(ActiveRequest row, int tokens, boolean decodes) {
    rows.add(row);
    decodeRows += decodes ? 1 : 0;
    prefillTokens += decodes ? 0 : tokens;
    largestChunk = Math.max(largestChunk, tokens);
  }

  /** Adds a donor's chunk, and returns its number. */
  int addDonor(StepEngine.Chunk chunk, boolean decodes) {
    donors++;
    prefillTokens += decodes ? 0 : chunk.tokens().length;
    return add(chunk);
  }

  /** Adds a chunk, and returns its number. */
  int add(StepEngine.Chunk chunk) {
    chunks.add(chunk);
    logitRows += chunk.wantsLogits() ? 1 : 0;
    readRows += chunk.wantsReads() ? 1 : 0;
    if (chunk.masks() != null) {
      patchedRows++;
      masks.add(chunk.masks());
    }
    return chunks.size() - 1;
  }

  /** The row of logits that the last chunk has if it wants some. */
  int logitRow() {
    return logitRows - 1;
  }

  int readRow() {
    return readRows - 1;
  }

  void read(List<String> hooks) {
    reads.addAll(hooks);
  }

  List<StepEngine.Chunk> chunks() {
    return chunks;
  }

  List<ActiveRequest> rows() {
    return rows;
  }

  List<String> reads() {
    return List.copyOf(reads);
  }

  StepReport report(long nanos) {
    return new StepReport(
        rows.size(),
        decodeRows,
        prefillTokens,
        largestChunk,
        patchedRows,
        masks.size(),
        donors,
        Duration.ofNanos(nanos));
  }
}
