/** Holds the README and the pages of the site to the code: links, names, commands and quotes. */
package org.autocircuit.document;
