package org.autocircuit.serve;

import java.time.Duration;
import java.util.Map;
import org.autocircuit.prune.PruneScores;
import org.autocircuit.text.TextModel;

/**
 * Names what requests may ask for.
 *
 * @param name of the model
 * @param model with its tokenizer
 * @param scores by name, to choose circuits by
 * @param timeLimit of a request, its wait included
 */
record Served(String name, TextModel model, Map<String, PruneScores> scores, Duration timeLimit) {}
