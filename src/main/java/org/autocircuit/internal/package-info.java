/** Lifetimes: native resources, temporary tensors, thread-confined scopes. Not for users. */
package org.autocircuit.internal;
