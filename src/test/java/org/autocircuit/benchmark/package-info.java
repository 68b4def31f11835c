/** JMH benchmarks, reported as ratios to a plain forward pass of the same run. */
package org.autocircuit.benchmark;
