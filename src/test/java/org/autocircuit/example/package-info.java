/** Programs that the README shows; tests compile and run them. */
package org.autocircuit.example;
