/**
 * The command line: {@code autocircuit} and its sub-commands. {@link org.autocircuit.cli.Main} says
 * what exit codes mean.
 *
 * <p>Runs a command from a program, without ending the JVM:
 *
 * <pre>{@code
 * int exit = Main.commandLine().execute("graph", "gpt2/config.json");
 * }</pre>
 */
package org.autocircuit.cli;
