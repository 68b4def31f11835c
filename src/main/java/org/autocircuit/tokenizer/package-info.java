/** Texts to tokens and back, as a model's {@code tokenizer.json} says. */
package org.autocircuit.tokenizer;
