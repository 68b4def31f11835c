package org.autocircuit.internal;

import java.util.ArrayDeque;
import java.util.Collection;
import java.util.Deque;
import java.util.Iterator;
import org.autocircuit.internal.jni.NativeLoader;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;

/**
 * One call: what it needs stays open, and every JavaCPP pointer made while it is open is freed when
 * it is closed, but for those that are handed out, which then belong to the caller's innermost
 * scope. The JVM's shutdown waits for it.
 */
public final class CallScope implements AutoCloseable {

  private final PointerScope temporaries;
  private final Deque<Pointer> handedOut = new ArrayDeque<>();
  private final Deque<NativeResource.Use> uses = new ArrayDeque<>();

  /**
   * Opens the scope. All native work does so first, so here the native libraries are loaded.
   *
   * @throws IllegalStateException if the JVM is shutting down and this is no part of a call
   */
  public CallScope() {
    this(false);
  }

  private CallScope(boolean toFree) {
    if (toFree) {
      ShutdownGuard.enterToFree();
    } else {
      ShutdownGuard.enter();
    }
    boolean opened = false;
    try {
      NativeLoader.require();
      temporaries = new PointerScope();
      opened = true;
    } finally {
      if (!opened) {
        ShutdownGuard.leave();
      }
    }
  }

  /** Opens a scope for what gives memory back, which is done while the JVM shuts down, too. */
  public static CallScope toFree() {
    return new CallScope(true);
  }

  /** Takes over a use: what the call needs stays open until this scope is closed. */
  public void hold(NativeResource.Use use) {
    uses.push(use);
  }

  /**
   * Lets a pointer made in this scope outlive it, in the care of the caller. This is the last thing
   * that a call does: if it failed afterwards and there were no scope around it, the pointer would
   * have no owner.
   */
  public <P extends Pointer> P handOut(P pointer) {
    pointer.retainReference();
    handedOut.add(pointer);
    return pointer;
  }

  /** As {@link #handOut}, of several, which are all made before the first is handed out. */
  public <P extends Pointer, C extends Collection<P>> C handOutAll(C pointers) {
    pointers.forEach(this::handOut);
    return pointers;
  }

  /**
   * Lets a pointer made in this scope outlive it; whoever keeps it frees it with {@link
   * Pointer#releaseReference}.
   */
  public <P extends Pointer> P keep(P pointer) {
    pointer.retainReference();
    return pointer;
  }

  @Override
  public void close() {
    try {
      temporaries.close();
      handedOut.forEach(CallScope::attach);
    } finally {
      endUses();
    }
  }

  private void endUses() {
    if (uses.isEmpty()) {
      ShutdownGuard.leave();
      return;
    }
    try {
      uses.pop().close();
    } finally {
      endUses();
    }
  }

  /** Without a scope around the call, the reference taken in {@link #handOut} is the caller's. */
  private static void attach(Pointer pointer) {
    Iterator<PointerScope> outer = PointerScope.getScopeIterator();
    while (outer.hasNext()) {
      try {
        outer.next().attach(pointer);
        pointer.releaseReference();
        return;
      } catch (IllegalArgumentException e) {
        // A scope for other classes; the one around it may take tensors.
      }
    }
  }
}
