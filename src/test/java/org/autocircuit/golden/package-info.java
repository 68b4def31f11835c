/** Reads the reference data that other tests compare with. */
package org.autocircuit.golden;
