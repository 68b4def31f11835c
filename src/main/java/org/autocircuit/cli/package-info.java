/**
 * The command line: {@code autocircuit} and its sub-commands. {@link org.autocircuit.cli.Main} says
 * what exit codes mean.
 */
package org.autocircuit.cli;
