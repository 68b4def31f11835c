/**
 * Patchable transformers. Begin with {@link org.autocircuit.PatchableModel}: it runs a model as it
 * is or with edges patched, records what its nodes write, and computes gradients with respect to
 * masks.
 */
package org.autocircuit;
