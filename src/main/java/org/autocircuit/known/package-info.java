/**
 * Models whose circuit is known since their weights were written by hand: {@link
 * org.autocircuit.known.KnownModel} has weights, prompts and the edges that do the task, to measure
 * algorithms with.
 */
package org.autocircuit.known;
