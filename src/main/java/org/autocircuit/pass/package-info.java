/**
 * Says what goes into a forward pass and what comes out: inputs, prefixes, requests and results,
 * and runs from which others are computed.
 */
package org.autocircuit.pass;
