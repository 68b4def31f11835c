/** What a model is: its structure, its weights on disk, and its tokenizer. */
package org.autocircuit.model;
