/**
 * Training of small models from nothing, to have something real to find circuits in. The trained
 * model that comes with the library was made here.
 */
package org.autocircuit.train;
