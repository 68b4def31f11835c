/**
 * Patchable transformers. Begin with {@link org.autocircuit.PatchableModel}: it runs a model as it
 * is or with edges patched, records what its nodes write, and computes gradients with respect to
 * masks.
 *
 * <h2>What operators can see</h2>
 *
 * <p>Log messages go to {@link java.lang.System.Logger} under these names:
 *
 * <ul>
 *   <li>{@code org.autocircuit.model}: a model was loaded, from where, in how many seconds, with
 *       how many bytes, on which device (INFO).
 *   <li>{@code org.autocircuit.scopes}: modes that nobody closed, by a thread that lives on or one
 *       that ended, or that were open when their model was closed; with the stack that opened them
 *       (WARNING).
 *   <li>{@code org.autocircuit.memory}: source activations of a gibibyte or more (INFO).
 *   <li>{@code org.autocircuit.native}: more threads than processors, or a BLAS that {@link
 *       org.autocircuit.Threads} does not reach (WARNING); the folder that native libraries were
 *       loaded from, and how long it took (DEBUG).
 * </ul>
 *
 * <p>JDK Flight Recorder, in the category AutoCircuit, gets these events; while nobody records,
 * each costs a test of a flag. What fails leaves no event.
 *
 * <ul>
 *   <li>{@code org.autocircuit.Forward}: model, batch, positions, whether patched, whether recorded
 *       by autograd, whether the outputs of all sources were kept; duration.
 *   <li>{@code org.autocircuit.Gradient}: model, batch, positions; duration.
 *   <li>{@code org.autocircuit.Load}: model, path, bytes, precision, device; duration.
 *   <li>{@code org.autocircuit.Workspace}: bytes before and after the pool of buffers, which all
 *       passes share, grew; looked at after each pass.
 * </ul>
 */
package org.autocircuit;
