package org.autocircuit.serve;

/** Says why a request gets no answer, in words for whoever sent it. */
final class Refusal extends RuntimeException {

  private final int status;
  private final String member;

  private Refusal(int status, String member, String message) {
    super(message, null, false, false);
    this.status = status;
    this.member = member;
  }

  /** Refuses a request as a whole. */
  static Refusal of(int status, String message) {
    return new Refusal(status, null, message);
  }

  /** Refuses one member of its JSON, such as {@code autocircuit.edges[2]}. */
  static Refusal of(String member, String expected, Object got) {
    return new Refusal(400, member, "%s: expected %s, got %s".formatted(member, expected, got));
  }

  /** The status of HTTP. */
  int status() {
    return status;
  }

  /** The member that is wrong, or {@code null}. */
  String member() {
    return member;
  }
}
