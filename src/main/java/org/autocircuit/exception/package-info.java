/** Says what calls of this library throw beside Java's own exceptions. */
package org.autocircuit.exception;
