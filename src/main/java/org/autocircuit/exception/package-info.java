/**
 * Says what calls of this library throw beside Java's own exceptions.
 *
 * <p>Tells a request that comes too early from one that can never fit:
 *
 * <pre>{@code
 * try {
 *   generator.submit(request);
 * } catch (QueueFullException e) {
 *   System.out.println("come again later: " + e.getMessage());
 * } catch (DoesNotFitException e) {
 *   System.out.println("never: " + e.getMessage());
 * }
 * }</pre>
 */
package org.autocircuit.exception;
