package org.autocircuit.explore;

import java.util.Base64;
import java.util.BitSet;
import java.util.Locale;
import org.autocircuit.graph.DestModule;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.graph.ModelGraph;
import org.autocircuit.internal.JsonFiles;
import org.autocircuit.internal.http.Members;
import org.autocircuit.internal.http.Refusal;
import org.autocircuit.patch.BatchAblation;

/**
 * Holds what a page asks: two prompts, and which edges are patched.
 *
 * @param clean the prompt
 * @param corrupt its twin; the prompt itself where none is needed
 * @param ablation what patched edges carry
 * @param at the position at which they are patched, {@value #EVERYWHERE} for all
 * @param patched edges of a graph without positions
 * @param answer a right answer, empty for what the model says
 * @param wrong a wrong answer, empty for what the model says after the corrupt prompt
 */
record Question(
    String clean,
    String corrupt,
    BatchAblation ablation,
    int at,
    EdgeSet patched,
    String answer,
    String wrong) {

  /** No position in particular. */
  static final int EVERYWHERE = -1;

  /** Reads a question; members that it does not have stay unread. */
  static Question read(Members members, ModelGraph graph) {
    String clean = members.text("clean", "");
    if (clean.isEmpty()) {
      throw members.refuse("clean", "a prompt");
    }
    BatchAblation ablation = ablation(members.text("ablation", "resample"), members);
    String corrupt = members.text("corrupt", "");
    if (corrupt.isEmpty() && ablation != BatchAblation.ZERO) {
      throw members.refuse(
          "corrupt", "a prompt of which patched edges take what they carry; with zeros none");
    }
    return new Question(
        clean,
        corrupt.isEmpty() ? clean : corrupt,
        ablation,
        members.integer("at", EVERYWHERE, EVERYWHERE),
        edges(members, graph),
        members.text("answer", ""),
        members.text("wrong", ""));
  }

  /** Ablations by the names that pages know them by. */
  static BatchAblation ablation(String name, Members members) {
    return switch (name) {
      case "resample" -> BatchAblation.RESAMPLE;
      case "zero" -> BatchAblation.ZERO;
      case "batch-all-tok-mean" -> BatchAblation.BATCH_ALL_TOK_MEAN;
      default ->
          throw members.refuse("ablation", "\"resample\", \"zero\" or \"batch-all-tok-mean\"");
    };
  }

  /** The name that pages and the command line know an ablation by. */
  static String name(BatchAblation ablation) {
    return ablation.name().toLowerCase(Locale.ROOT).replace('_', '-');
  }

  private static EdgeSet edges(Members members, ModelGraph graph) {
    String text = members.text("patched", "");
    try {
      return EdgeSet.ofIndices(graph, BitSet.valueOf(Base64.getDecoder().decode(text)));
    } catch (IllegalArgumentException | IndexOutOfBoundsException e) {
      throw Refusal.of(
          members.place("patched"),
          "bits of at most %s edges in base64".formatted(graph.nEdges()),
          JsonFiles.describe(members.node("patched")) + " (" + e.getMessage() + ")");
    }
  }

  /** This question with other edges patched. */
  Question with(EdgeSet edges) {
    return new Question(clean, corrupt, ablation, at, edges, answer, wrong);
  }

  /** The patched edges as those of a graph with positions, at one of them. */
  EdgeSet patchedAt(ModelGraph positions) {
    BitSet bits = new BitSet();
    int module = 0;
    for (DestModule of : patched.graph().destModules()) {
      DestModule to = positions.destModules().get(module++);
      int shift = to.offset() + at * of.size() - of.offset();
      patched
          .indices()
          .filter(edge -> edge >= of.offset() && edge < of.end())
          .forEach(edge -> bits.set(edge + shift));
    }
    return EdgeSet.ofIndices(positions, bits);
  }
}
