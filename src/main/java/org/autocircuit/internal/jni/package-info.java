/** The crossing to native code: every {@code native} method of the project, in one class. */
package org.autocircuit.internal.jni;
