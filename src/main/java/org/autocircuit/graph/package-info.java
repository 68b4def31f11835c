/**
 * The computational graph of a model: which nodes exist, which edges join them, and where each edge
 * lies in the flat vector of masks and scores.
 *
 * <p>Plain Java data computed from a {@link org.autocircuit.model.ModelConfig}; nothing here needs
 * native code or weights.
 */
package org.autocircuit.graph;
