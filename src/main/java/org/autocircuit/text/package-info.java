/**
 * Text in, text out: a model with its tokenizer, next tokens, patches and circuits of prompts. The
 * way in for programs that have prompts rather than tensors.
 */
package org.autocircuit.text;
