/**
 * What people type: the {@code autocircuit} command and its sub-commands. {@link
 * org.autocircuit.cli.Main} says what exit codes mean.
 */
package org.autocircuit.cli;
