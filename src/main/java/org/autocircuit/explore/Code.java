package org.autocircuit.explore;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import org.autocircuit.graph.EdgeSet;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.text.TextModel;

/** Writes what a page shows as a program, and as a command. Safe for use by several threads. */
final class Code {

  /** More names do not fit into one method of Java. */
  private static final int MOST_NAMES = 4000;

  private final TextModel model;
  private final Path folder;

  /**
   * Writes code about a model.
   *
   * @param folder where it is; {@code null} for the one that comes with the library
   */
  Code(TextModel model, Path folder) {
    this.model = model;
    this.folder = folder;
  }

  /** The fewer of two sets of edges by name: those that are patched, or those that are kept. */
  private record Named(boolean patched, List<String> names) {}

  private static Named named(Question question) {
    EdgeSet edges = question.patched();
    boolean patched = 2L * edges.size() <= edges.graph().nEdges();
    EdgeSet fewer = patched ? edges : edges.complement();
    if (fewer.size() > MOST_NAMES) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "code: expected at most %,d edges to name, got %,d",
              MOST_NAMES,
              fewer.size()));
    }
    String at = question.at() < 0 ? "" : "@" + question.at();
    return new Named(patched, fewer.edges().stream().map(edge -> edge.name() + at).toList());
  }

  /** A program that prints the next tokens that a page shows. */
  String java(Question question) {
    Named named = named(question);
    boolean positions = question.at() >= 0;
    List<String> lines = new ArrayList<>();
    String opened =
        folder == null
            ? "ExampleModel.open()"
            : "TextModel.open(Path.of(%s))".formatted(quoted(folder.toString()));
    if (positions) {
      lines.add("    try (TextModel all = %s;".formatted(opened));
      lines.add("        TextModel model =");
      lines.add(
          "            all.withOptions(all.model().options().withSeqLen(%s))) {"
              .formatted(model.tokens(question.clean()).length));
    } else {
      lines.add("    try (TextModel model = %s) {".formatted(opened));
    }
    lines.add("      EdgeSet %s =".formatted(named.patched() ? "patched" : "kept"));
    lines.add("          EdgeSet.ofNames(");
    lines.add("              model.graph(),");
    lines.add("              List.of(%s));".formatted(listed(named.names())));
    if (!named.patched()) {
      lines.add("      EdgeSet patched =");
      lines.add(
          positions
              ? """
                          EdgeSet.of(
                              model.graph(),
                              model.graph().edgesAt(%s).stream()
                                  .filter(edge -> !kept.contains(edge))
                                  .toList());"""
                  .formatted(question.at())
              : "          kept.complement();");
    }
    lines.add("      Circuit circuit =");
    lines.add(
        "          Circuit.of(patched.complement()).withAblation(BatchAblation.%s);"
            .formatted(question.ablation()));
    lines.add("      Patched next =");
    lines.add("          model.run(");
    lines.add("              circuit,");
    lines.add("              %s,".formatted(quoted(question.clean())));
    lines.add("              %s);".formatted(quoted(question.corrupt())));
    lines.add("      System.out.println(\"model    \" + next.clean().top(5));");
    lines.add("      System.out.println(\"patched  \" + next.patched().top(5));");
    return (folder == null ? "" : "import java.nio.file.Path;\n")
        + """
        import java.util.List;
        import org.autocircuit.graph.EdgeSet;
        import org.autocircuit.patch.BatchAblation;
        import org.autocircuit.text.Circuit;
        %simport org.autocircuit.text.Patched;
        import org.autocircuit.text.TextModel;

        /** Prints what a model says next, with %s of its edges patched. */
        class Explored {
          public static void main(String[] arguments) {
        """
            .formatted(
                folder == null ? "import org.autocircuit.text.ExampleModel;\n" : "",
                share(question))
        + String.join("\n", lines)
        + "\n    }\n  }\n}\n";
  }

  private static String share(Question question) {
    EdgeSet patched = question.patched();
    return String.format(Locale.ROOT, "%,d of %,d", patched.size(), patched.graph().nEdges());
  }

  private static String listed(List<String> names) {
    String indent = "\n                  ";
    return names.stream()
        .map(Code::quoted)
        .collect(Collectors.joining("," + indent, names.isEmpty() ? "" : indent, ""));
  }

  /** A text as Java writes it. */
  static String quoted(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      switch (c) {
        case '"' -> quoted.append("\\\"");
        case '\\' -> quoted.append("\\\\");
        case '\n' -> quoted.append("\\n");
        case '\r' -> quoted.append("\\r");
        case '\t' -> quoted.append("\\t");
        default -> {
          if (c >= ' ' && c < 127) {
            quoted.append(c);
          } else {
            // The compiler may read the file in any encoding.
            quoted.append(String.format(Locale.ROOT, "\\u%04x", (int) c));
          }
        }
      }
    }
    return quoted.append('"').toString();
  }

  /** A command that prints the same; empty if there is none. */
  String command(Question question) {
    if (question.ablation() == BatchAblation.BATCH_ALL_TOK_MEAN) {
      return "";
    }
    Named named = named(question);
    boolean positions = question.at() >= 0;
    List<String> words = new ArrayList<>(List.of("autocircuit", "run"));
    if (folder != null) {
      words.addAll(List.of("--model", shell(folder.toString())));
    }
    words.addAll(List.of("--prompt", shell(question.clean())));
    if (question.ablation() == BatchAblation.RESAMPLE) {
      words.addAll(List.of("--corrupt", shell(question.corrupt())));
    }
    List<String> names = named.names();
    String option = named.patched() ? "--patch" : "--keep";
    if (positions && !named.patched()) {
      option = "--patch";
      names =
          question.patched().edges().stream()
              .map(edge -> edge.name() + "@" + question.at())
              .toList();
    }
    for (String name : names) {
      words.add(option);
      words.add(shell(name));
    }
    return String.join(" ", words);
  }

  /** A word as shells read it. */
  static String shell(String word) {
    return word.matches("[\\w@%+=:,./-]+") ? word : "'" + word.replace("'", "'\\''") + "'";
  }
}
