/** The Python original's context managers: scopes that put a context in force for a thread. */
package org.autocircuit.mode;
