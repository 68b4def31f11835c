package org.autocircuit.generate;

import java.time.Duration;

/**
 * One step of a generator: what ran in one pass.
 *
 * @param rows requests that took part
 * @param decodeRows answers that got a token
 * @param prefillTokens tokens of prompts, those of donors included
 * @param largestChunk most tokens of one prompt
 * @param patchedRows requests of which tokens were patched
 * @param maskSets different masks
 * @param donors donors that ran beside, one of several requests counted once
 * @param duration of the pass alone
 */
public record StepReport(
    int rows,
    int decodeRows,
    int prefillTokens,
    int largestChunk,
    int patchedRows,
    int maskSets,
    int donors,
    Duration duration) {}
