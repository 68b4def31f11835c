package org.autocircuit.serve;

import java.time.Duration;
import java.util.Map;
import org.autocircuit.prune.CircuitScores;
import org.autocircuit.text.TextModel;

/**
 * Names what requests may ask for.
 *
 * @param name of the model
 * @param model with its tokenizer
 * @param scores by name, to choose circuits by: of all edges, or of those of a circuit
 * @param timeLimit of a request, its wait included
 */
record Served(
    String name, TextModel model, Map<String, CircuitScores> scores, Duration timeLimit) {}
