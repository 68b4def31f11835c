/** Events for JDK Flight Recorder. Their names and fields are told in the root package. */
package org.autocircuit.internal.jfr;
