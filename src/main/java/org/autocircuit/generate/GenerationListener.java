package org.autocircuit.generate;

/**
 * Is told what a generator does, in this order for each request: submitted, started, first token,
 * finished, of which the two in the middle may not come. Called on the generator's thread, but for
 * {@link #submitted} and {@link #refused}, which the thread that submits calls, and the end of a
 * request that never ran; so it should take microseconds. What it throws is logged and goes no
 * further. Prompts and tokens are not among what it is told.
 */
public interface GenerationListener {

  /** A request was taken, and will wait. */
  default void submitted(Generation generation) {}

  /** A request was refused, with this exception. */
  default void refused(GenerationRequest request, RuntimeException reason) {}

  /** A request begins to run. */
  default void started(Generation generation) {}

  /** A request has its first token. */
  default void firstToken(Generation generation) {}

  /** A request has ended. */
  default void finished(Generation generation, FinishReason reason) {}

  /** A step was run. */
  default void stepped(StepReport step) {}

  /** A step failed; its requests run once more, each by itself. */
  default void failed(Throwable failure) {}
}
