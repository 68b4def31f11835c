/** Pruning of the latents of sparse autoencoders. */
package org.autocircuit.sae;
