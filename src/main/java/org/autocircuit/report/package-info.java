/**
 * What people look at: tables for a terminal and pictures for a browser, made of scores and
 * measures. Nothing here runs a model.
 */
package org.autocircuit.report;
