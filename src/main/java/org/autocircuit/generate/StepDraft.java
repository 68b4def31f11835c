package org.autocircuit.generate;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Collects the chunks of one step, and the requests that take part. */
final class StepDraft {

  private final List<StepEngine.Chunk> chunks = new ArrayList<>();
  private final List<ActiveRequest> rows = new ArrayList<>();
  private final Set<String> reads = new LinkedHashSet<>();
  private final Set<StepEngine.Handle> masks = new LinkedHashSet<>();
  private final Map<DonorRun, DonorChunk> donors = new HashMap<>();
  private int logitRows;
  private int readRows;
  private int decodeRows;
  private int prefillTokens;
  private int largestChunk;
  private int patchedRows;

  /**
   * The part of a donor in the step, for all requests that it patches.
   *
   * @param index of the chunk
   * @param logitRow its row of logits if it wants some
   */
  record DonorChunk(int index, int logitRow, StepEngine.Chunk chunk) {}

  /** Adds a request, whose chunks have been added. */
  void addRow(ActiveRequest row, int tokens, boolean decodes) {
    rows.add(row);
    decodeRows += decodes ? 1 : 0;
    prefillTokens += decodes ? 0 : tokens;
    largestChunk = Math.max(largestChunk, tokens);
  }

  /** The part of a donor that is there already; {@code null}: none. */
  DonorChunk of(DonorRun donor) {
    return donors.get(donor);
  }

  /** Adds the part of a donor. */
  DonorChunk addDonor(DonorRun donor, StepEngine.Chunk chunk, boolean decodes) {
    prefillTokens += decodes ? 0 : chunk.tokens().length;
    DonorChunk added = new DonorChunk(add(chunk), logitRow(), chunk);
    donors.put(donor, added);
    return added;
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
        donors.size(),
        Duration.ofNanos(nanos));
  }
}
