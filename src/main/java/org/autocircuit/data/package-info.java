/**
 * Makes inputs of models: clean and corrupt prompts with their answers, cut into batches of tokens,
 * and a generator of sentences to train a small model on.
 */
package org.autocircuit.data;
