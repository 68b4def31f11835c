package org.autocircuit.report;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import org.autocircuit.eval.CircuitMeasures;
import org.autocircuit.internal.Figures;

/**
 * A table over circuit sizes: a circuit's measures beside those of random circuits of the same size
 * where there are any, and the full model's own below. How faithful a circuit is, its logit
 * difference says, on a scale from that of no edge, 0 %, to that of the full model, 100 %. Plain
 * text of at most 80 columns. Not safe for use by several threads.
 */
public final class CircuitTable {

  private record Row(int edges, CircuitMeasures circuit, CircuitMeasures random) {}

  private final int nEdges;
  private final CircuitMeasures fullModel;
  private final CircuitMeasures empty;
  private boolean shares = true;
  private final List<Row> rows = new ArrayList<>();

  /**
   * Begins a table.
   *
   * @param nEdges edges of the whole graph
   * @param fullModel the full model's measures
   * @param empty those of the circuit without edges
   */
  public CircuitTable(int nEdges, CircuitMeasures fullModel, CircuitMeasures empty) {
    this.nEdges = nEdges;
    this.fullModel = Objects.requireNonNull(fullModel, "fullModel");
    this.empty = Objects.requireNonNull(empty, "empty");
  }

  /**
   * Adds a size.
   *
   * @param edges edges of the circuits
   * @param circuit measures of the circuit that was found
   * @param random measures of random circuits; {@code null} for none
   */
  public CircuitTable row(int edges, CircuitMeasures circuit, CircuitMeasures random) {
    rows.add(new Row(edges, Objects.requireNonNull(circuit, "circuit"), random));
    return this;
  }

  /** Prints dashes for how faithful circuits are, since the two ends of that scale are too near. */
  public CircuitTable withoutShares() {
    shares = false;
    return this;
  }

  /** The table, with a line above that says which columns are whose. */
  @Override
  public String toString() {
    boolean random = rows.stream().anyMatch(row -> row.random() != null);
    TextTable table = new TextTable().indent(2).right("edges").right("share");
    table.right("logit diff").right("faithful").right("KL").right("accuracy");
    if (random) {
      table.right("  faithful").right("KL");
    }
    for (Row row : rows) {
      addRow(table, random, count(row.edges()), share(row.edges()), row.circuit(), row.random());
    }
    addRow(table, random, "model", "", fullModel, null);
    String text = table.toString();
    return random ? groups(text.substring(0, text.indexOf('\n'))) + "\n" + text : text;
  }

  private void addRow(
      TextTable table,
      boolean withRandom,
      String name,
      String share,
      CircuitMeasures circuit,
      CircuitMeasures random) {
    List<String> cells =
        new ArrayList<>(
            List.of(
                name,
                share,
                difference(circuit),
                faithful(circuit),
                kl(circuit),
                accuracy(circuit)));
    if (withRandom) {
      cells.add(random == null ? "" : faithful(random));
      cells.add(random == null ? "" : kl(random));
    }
    table.row(cells.toArray(String[]::new));
  }

  /** The names of the two groups, each over the end of its last column, ruled to its first. */
  private static String groups(String titles) {
    int circuitEnd = titles.indexOf("accuracy") + "accuracy".length();
    int circuitBegin = titles.indexOf("logit diff");
    int randomBegin = titles.lastIndexOf("faithful");
    return " ".repeat(circuitBegin)
        + centred(" circuit ", circuitEnd - circuitBegin)
        + " ".repeat(randomBegin - circuitEnd)
        + centred(" random ", titles.length() - randomBegin);
  }

  private static String centred(String text, int width) {
    int left = (width - text.length()) / 2;
    return "-".repeat(left) + text + "-".repeat(width - text.length() - left);
  }

  private static String count(int edges) {
    return String.format(Locale.ROOT, "%,d", edges);
  }

  private String share(int edges) {
    double percent = 100.0 * edges / nEdges;
    return String.format(
        Locale.ROOT, percent > 0 && percent < 0.95 ? "%.1g %%" : "%.0f %%", percent);
  }

  private static String difference(CircuitMeasures measures) {
    return Figures.fixed(measures.logitDifference(), 3);
  }

  private String faithful(CircuitMeasures measures) {
    double share = measures.recovered(fullModel, empty);
    return !shares ? "-" : Figures.orDash(share, Figures.percent(share, 1));
  }

  private static String kl(CircuitMeasures measures) {
    return Figures.fixed(measures.klDivergence(), 4);
  }

  private static String accuracy(CircuitMeasures measures) {
    return Figures.percent(measures.accuracy(), 1);
  }
}
