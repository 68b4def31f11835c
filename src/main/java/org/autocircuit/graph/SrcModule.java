package org.autocircuit.graph;

/**
 * A hook point whose output is one or more sources.
 *
 * @param moduleName the hook point
 * @param srcStart index of its first source
 * @param srcStop index after its last source
 */
public record SrcModule(String moduleName, int srcStart, int srcStop) {}
