/**
 * The computational graph of a model: which nodes exist, which edges join them, and where each edge
 * lies in the flat vector of masks and scores.
 *
 * <p>Plain Java data computed from a {@link org.autocircuit.model.ModelConfig}; nothing here needs
 * native code or weights.
 *
 * <p>Counts edges, and finds one by its name:
 *
 * <pre>{@code
 * ModelGraph graph = ModelGraph.of(new MicroModelConfig(2, 2, 8), true, true);
 * System.out.println(graph.nEdges() + " edges");
 * Edge edge = graph.edge("A0.1->A1.0.V");
 * System.out.println(graph.index(edge));
 * }</pre>
 */
package org.autocircuit.graph;
