package org.autocircuit.report;

import static java.util.stream.Collectors.joining;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.NoSuchFileException;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Base64;
import java.util.LinkedHashSet;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Makes one HTML file of our modules, d3, styles and data. The file loads nothing: its policy for
 * the browser allows these very scripts and styles, known by their hashes, and no network.
 */
final class PageFile {

  private static final String OURS = "page/";
  private static final String D3 = "/META-INF/resources/webjars/d3/7.9.0/";
  private static final Pattern IMPORT =
      Pattern.compile("(?m)^import (\\{[^}]*\\}) from '\\./([a-z]+)\\.js';$");
  private static final Pattern EXPORT =
      Pattern.compile("(?m)^export (?=(?:async )?(?:function\\*?|const|class) (\\w+))");
  private static final Pattern PLACE = Pattern.compile("\\{\\{([a-z0-9]+)\\}\\}");

  private PageFile() {}

  /**
   * Returns the page.
   *
   * @param title plain text
   * @param entry the module that makes it; explore has a server of circuits behind it, to which it
   *     may connect
   * @param json the data, as JSON
   */
  static String of(String title, String entry, String json) {
    boolean served = entry.equals("explore");
    String d3 = "\n/*\n" + read(D3 + "LICENSE") + "*/\n" + read(D3 + "dist/d3.min.js");
    String script = "\n'use strict';\n" + modules(entry);
    String style = "\n" + read(OURS + "page.css") + (served ? read(OURS + "explore.css") : "");
    String policy =
        "default-src 'none'; img-src data: blob:; style-src %s; script-src %s %s%s"
            .formatted(hash(style), hash(d3), hash(script), served ? "; connect-src 'self'" : "");
    return PLACE
        .matcher(read(OURS + "page.html"))
        .replaceAll(
            place ->
                Matcher.quoteReplacement(
                    switch (place.group(1)) {
                      case "title" -> SvgDrawing.escape(title);
                      case "policy" -> policy;
                      case "style" -> style;
                      case "d3" -> d3;
                      case "script" -> script;
                      case "data" -> inScript(json);
                      default -> throw new IllegalStateException("no " + place.group());
                    }));
  }

  /** Returns JSON that means the same, and in which no tag of HTML can begin. */
  private static String inScript(String json) {
    return json.replace("<", "\\u003c");
  }

  /** Returns a module after all that it imports, each in a function of its own, as one script. */
  private static String modules(String entry) {
    StringBuilder script = new StringBuilder();
    append(script, entry, new LinkedHashSet<>());
    return script.toString();
  }

  private static void append(StringBuilder script, String name, Set<String> seen) {
    if (!seen.add(name)) {
      return;
    }
    String text = read(OURS + name + ".js");
    IMPORT.matcher(text).results().forEach(found -> append(script, found.group(2), seen));
    String exported =
        EXPORT.matcher(text).results().map(found -> found.group(1)).collect(joining(", "));
    String body = IMPORT.matcher(text).replaceAll("const $1 = $2Module;");
    script
        .append("\nconst %sModule = (() => {\n".formatted(name))
        .append(EXPORT.matcher(body).replaceAll(""))
        .append("\nreturn { %s };\n})();\n".formatted(exported));
  }

  private static String hash(String text) {
    try {
      byte[] digest =
          MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
      return "'sha256-" + Base64.getEncoder().encodeToString(digest) + "'";
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java has SHA-256", e);
    }
  }

  private static String read(String name) {
    try (InputStream stream = PageFile.class.getResourceAsStream(name)) {
      if (stream == null && name.startsWith(D3)) {
        throw new IllegalStateException(
            "pages need the library that draws them: add org.webjars.npm:d3:7.9.0 to the class"
                + " path (an optional dependency, without those that it names itself)");
      }
      if (stream == null) {
        throw new NoSuchFileException(name);
      }
      return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
