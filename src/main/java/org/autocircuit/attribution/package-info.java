/** Losses on answers, and gradients of them with respect to masks. */
package org.autocircuit.attribution;
