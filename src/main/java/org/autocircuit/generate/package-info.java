/** Answers token by token, each request with a circuit and an ablation of its own. */
package org.autocircuit.generate;
