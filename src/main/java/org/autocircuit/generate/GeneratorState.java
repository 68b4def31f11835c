package org.autocircuit.generate;

import java.util.Map;

/**
 * The work of a generator, now and so far, as it is at one moment.
 *
 * @param waiting requests in the queue
 * @param active requests that run
 * @param kvReserved bytes set aside for these
 * @param kvLimit the most that are
 * @param refusedFull requests refused because the queue was full
 * @param refusedSize requests refused because they can never fit
 * @param steps passes run
 * @param failedSteps passes that failed
 * @param tokens generated, of all answers
 * @param finished answers by why they ended
 */
public record GeneratorState(
    int waiting,
    int active,
    long kvReserved,
    long kvLimit,
    long refusedFull,
    long refusedSize,
    long steps,
    long failedSteps,
    long tokens,
    Map<FinishReason, Long> finished) {}
