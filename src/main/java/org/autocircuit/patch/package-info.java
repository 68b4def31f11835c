/**
 * What patches a forward pass: source activations, masks, mask functions and noise, gathered in a
 * context, and the scopes that put a context in force for a thread.
 */
package org.autocircuit.patch;
