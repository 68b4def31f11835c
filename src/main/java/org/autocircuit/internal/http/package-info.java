/** Requests and responses of the servers, on the JDK's own HTTP server. */
package org.autocircuit.internal.http;
