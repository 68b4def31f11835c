/**
 * Generators seen through Micrometer: meters and traces. Needs {@code
 * io.micrometer:micrometer-core}, which programs bring along themselves.
 */
package org.autocircuit.metrics;
