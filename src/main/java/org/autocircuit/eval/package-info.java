/**
 * Measures circuits: {@link org.autocircuit.eval.CircuitRuns} runs circuits of several sizes over a
 * data set, {@link org.autocircuit.eval.AnswerMetrics} and {@link
 * org.autocircuit.eval.KlDivergence} compare their outputs with the right answers and with the full
 * model. Results are plain Java data.
 */
package org.autocircuit.eval;
