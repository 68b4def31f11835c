/**
 * Lifetimes, temporary tensors, files, and {@link org.autocircuit.internal.Access}, through which
 * packages reach what users cannot. Not for users.
 */
package org.autocircuit.internal;
