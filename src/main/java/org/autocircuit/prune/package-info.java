/**
 * Scores that say how much each edge of a graph matters, one class per algorithm, and what is done
 * with them: ranking, choosing circuits, and files.
 *
 * <p>Scores all edges by one algorithm, and takes the best hundred:
 *
 * <pre>{@code
 * PruneAlgorithm algorithm = EdgeAttributionPatching.builder().build();
 * PruneScores scores =
 *     algorithm.pruneScores(model.model(), model.batches(ExampleModel.prompts(), 16));
 * EdgeSet circuit = scores.circuit(100);
 * }</pre>
 */
package org.autocircuit.prune;
