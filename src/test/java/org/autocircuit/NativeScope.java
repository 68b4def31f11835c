package org.autocircuit;

import org.bytedeco.javacpp.PointerScope;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * Runs each test of a class inside a {@code PointerScope}, which frees the tensors it made, and with
 * one thread for each native call: small matrices only lose by being shared out.
 */
public final class NativeScope implements BeforeEachCallback, AfterEachCallback {

  private static final ExtensionContext.Namespace NAMESPACE =
      ExtensionContext.Namespace.create(NativeScope.class);

  @Override
  public void beforeEach(ExtensionContext context) {
    context.getStore(NAMESPACE).put("threads", Threads.get());
    Threads.set(1);
    context.getStore(NAMESPACE).put("scope", new PointerScope());
  }

  @Override
  public void afterEach(ExtensionContext context) {
    context.getStore(NAMESPACE).remove("scope", PointerScope.class).close();
    Threads.set(context.getStore(NAMESPACE).remove("threads", Integer.class));
  }
}
