/**
 * Shows results: makes tables for a terminal and pictures for a browser from scores and measures.
 * Nothing here runs a model.
 */
package org.autocircuit.report;
