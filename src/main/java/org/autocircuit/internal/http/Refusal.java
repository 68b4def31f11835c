package org.autocircuit.internal.http;

import java.util.Set;
import org.autocircuit.graph.NearestName;

/** Says why a request gets no answer, in words for whoever sent it. */
public final class Refusal extends RuntimeException {

  private final int status;
  private final String member;

  private Refusal(int status, String member, String message) {
    super(message, null, false, false);
    this.status = status;
    this.member = member;
  }

  /** Refuses a request as a whole. */
  public static Refusal of(int status, String message) {
    return new Refusal(status, null, message);
  }

  /** Refuses one member of its JSON, such as {@code autocircuit.edges[2]}. */
  public static Refusal of(String member, String expected, Object got) {
    return new Refusal(400, member, "%s: expected %s, got %s".formatted(member, expected, got));
  }

  /** Refuses one member of its JSON, in words of whoever reads it. */
  static Refusal at(String member, String message) {
    return new Refusal(400, member, message);
  }

  /** Refuses a name that nobody knows, and suggests the nearest of those that are known. */
  public static Refusal unknown(String member, String name, Set<String> known) {
    return at(
        member,
        "%s: expected one of %s, got '%s'; did you mean '%s'?"
            .formatted(member, known, name, NearestName.of(name, known)));
  }

  /** The status of HTTP. */
  public int status() {
    return status;
  }

  /** The member that is wrong, or {@code null}. */
  public String member() {
    return member;
  }
}
