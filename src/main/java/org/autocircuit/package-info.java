/**
 * Patchable transformers. Begin with {@link org.autocircuit.PatchableModel}: it runs a model as it
 * is or with edges patched, records what its nodes write, and computes gradients with respect to
 * masks.
 *
 * <p>Patches one edge with what it carries on another prompt:
 *
 * <pre>{@code
 * long[][] clean = {{1, 5, 9}};
 * long[][] corrupt = {{1, 6, 9}};
 * try (PatchableModel model = PatchableModel.open(Path.of("gpt2"));
 *     SourceActivations patches = model.sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
 *   Masks masks = Masks.ofNames(model.graph(), List.of("A0.1->MLP 3"));
 *   float[][] logits = model.logits(clean, PatchContext.of(patches, masks));
 * }
 * }</pre>
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
 * each costs a test of a flag. A generator tells its {@link
 * org.autocircuit.generate.GenerationListener listeners} the same, of which {@code
 * org.autocircuit.metrics} has some for Micrometer.
 *
 * <ul>
 *   <li>{@code org.autocircuit.Forward}: model, batch, positions, whether patched, whether recorded
 *       by autograd, whether the outputs of all sources were kept; duration.
 *   <li>{@code org.autocircuit.Gradient}: model, batch, positions; duration.
 *   <li>{@code org.autocircuit.Failure}: model and message of a pass that native code could not
 *       finish; refused calls do not count.
 *   <li>{@code org.autocircuit.Generation}: model, kind of patch, tokens of prompt and answer, why
 *       it ended, time in the queue and until the first token, of a request of a generator that has
 *       ended; duration from its submission on. No prompt and no answer.
 *   <li>{@code org.autocircuit.GenerationStep}: model, requests, answers that got a token, tokens
 *       of prompts, the largest part of one prompt, patched requests, mask sets and donors of a
 *       pass that requests of a generator shared; duration.
 *   <li>{@code org.autocircuit.Refusal}: model and reason, {@code queue_full} or {@code
 *       does_not_fit}, of a request that a generator did not take; mistaken ones do not count.
 *   <li>{@code org.autocircuit.Load}: model, path, bytes, precision, device; duration.
 *   <li>{@code org.autocircuit.Workspace}: bytes before and after the pool of buffers, which all
 *       passes share, grew; looked at after each pass.
 * </ul>
 *
 * <h2>Applications that end while the JVM goes on</h2>
 *
 * <p>A server that has AutoCircuit and its libraries in the class loader of an application gets all
 * of it back, some 20 to 30 MB each time, once everything is closed and these are seen to:
 *
 * <ul>
 *   <li>JavaCPP's thread {@code JavaCPP Deallocator} keeps the class loader: the application calls
 *       {@code Pointer.interruptDeallocatorThread()} last, or the JVM is started with {@code
 *       -Dorg.bytedeco.javacpp.noPointerGC=true}, with which there is no such thread.
 *   <li>DJL, behind {@link org.autocircuit.tokenizer.Tokenizer}, asks JNA for a CUDA library, and
 *       JNA's thread {@code JNA Cleaner} never ends; nor can two class loaders have DJL's native
 *       library at a time. Applications with tokenizers need DJL and JNA in a class loader that
 *       stays; the first application that used them is kept then, and no further one.
 *   <li>Java 17 itself keeps the types of the record whose methods it linked last, and so the last
 *       application, until it links another record's.
 * </ul>
 *
 * <p>The native libraries stay in the process, as LibTorch's own do, and the next class loader uses
 * them again; {@link org.autocircuit.Workspaces} bounds what their pool of buffers keeps.
 */
package org.autocircuit;
