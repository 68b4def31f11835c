/** Says what a model is: its structure, its weights, and the precision in which it computes. */
package org.autocircuit.model;
