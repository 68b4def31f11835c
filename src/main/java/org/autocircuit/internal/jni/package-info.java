/** The boundary: every {@code native} method of the project, and nothing else. */
package org.autocircuit.internal.jni;
