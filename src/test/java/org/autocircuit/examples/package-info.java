/** Small programs that the documents show; tests compile and run them. */
package org.autocircuit.examples;
