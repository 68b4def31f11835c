package org.autocircuit;

import org.autocircuit.AnswerLoss.AnswerFunction;
import org.autocircuit.AnswerLoss.GradFunction;
import org.autocircuit.patch.AblationType;
import org.autocircuit.patch.MaskFn;
import org.autocircuit.patch.OutputSlice;
import org.autocircuit.patch.PlanPolicy;

/** The numbers under which enum constants cross to native code; see {@code bridge.h}. */
final class NativeCodes {

  private NativeCodes() {}

  static int of(OutputSlice slice) {
    return switch (slice) {
      case ALL -> 0;
      case LAST_SEQ -> 1;
      case NOT_FIRST_SEQ -> 2;
    };
  }

  static int of(PlanPolicy policy) {
    return switch (policy) {
      case AUTO -> 0;
      case REFERENCE -> 1;
      case BUFFERED -> 2;
      case ALL_ONES -> 3;
    };
  }

  static int of(MaskFn maskFn) {
    return switch (maskFn) {
      case NONE -> 0;
      case SIGMOID -> 1;
      case HARD_CONCRETE -> 2;
    };
  }

  static int of(GradFunction function) {
    return switch (function) {
      case LOGIT -> 0;
      case PROB -> 1;
      case LOGPROB -> 2;
      case LOGIT_EXP -> 3;
    };
  }

  static int of(AnswerFunction function) {
    return switch (function) {
      case AVG_DIFF -> 0;
      case AVG_VAL -> 1;
      case MSE -> 2;
    };
  }

  /** Of the types that need a single batch only. */
  static int of(AblationType type) {
    return switch (type) {
      case RESAMPLE -> 0;
      case ZERO -> 1;
      case BATCH_TOKENWISE_MEAN -> 2;
      case BATCH_ALL_TOK_MEAN -> 3;
      case TOKENWISE_MEAN_CLEAN, TOKENWISE_MEAN_CORRUPT, TOKENWISE_MEAN_CLEAN_AND_CORRUPT ->
          throw new IllegalArgumentException(type + " needs a data set");
    };
  }
}
