/** The native passes of a patchable model: arguments checked, results handed out. Not for users. */
package org.autocircuit.internal.run;
