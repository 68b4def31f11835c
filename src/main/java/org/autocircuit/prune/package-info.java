/**
 * Scores that say how much each edge of a graph matters, one class per algorithm, and what is done
 * with them: ranking, choosing circuits, and files.
 */
package org.autocircuit.prune;
