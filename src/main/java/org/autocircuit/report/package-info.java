/**
 * Shows results: makes tables for a terminal and pictures for a browser from scores and measures.
 * Nothing here runs a model.
 *
 * <p>Draws the strongest edges of scores:
 *
 * <pre>{@code
 * PruneScores scores = model.discover(ExampleModel.prompts());
 * CircuitPicture.of(model.graph(), scores.top(24), "the 24 strongest edges")
 *     .write(Path.of("circuit.svg"));
 * }</pre>
 */
package org.autocircuit.report;
