package org.autocircuit.generate;

/** Says why an answer ended. */
public enum FinishReason {
  /** A token came that ends answers; it is the last one of this. */
  STOP_TOKEN,
  /** The answer's text came to one that ends it. */
  STOP_TEXT,
  /** A guard of the request said so. */
  GUARD,
  /** It has as many tokens as were asked for. */
  LENGTH,
  /** Prompt and answer fill the model's context. */
  CONTEXT,
  /** Whoever asked has closed it. */
  CANCELLED,
  /** Its time was over, the wait in the queue included. */
  DEADLINE,
  /** Its tokens lay unread until its time was over. */
  UNREAD,
  /** Something failed, in a pass or in what the request brought along. */
  ERROR
}
