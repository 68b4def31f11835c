/**
 * Says what patches a forward pass: source activations, masks, mask functions and noise, gathered
 * in a context.
 */
package org.autocircuit.patch;
