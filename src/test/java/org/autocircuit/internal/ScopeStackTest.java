package org.autocircuit.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.autocircuit.exception.ScopeOrderException;
import org.junit.jupiter.api.Test;

class ScopeStackTest {

  private final ScopeStack<String> stack = new ScopeStack<>("model", "none");

  @Test
  void theInnermostValueIsInForce() {
    assertThat(stack.current()).isEqualTo("none");
    try (ScopeStack.Scope outer = stack.open("outer", "a", () -> {})) {
      try (ScopeStack.Scope inner = stack.open("inner", "b", () -> {})) {
        assertThat(stack.current()).isEqualTo("b");
      }
      assertThat(stack.current()).isEqualTo("a");
    }
    assertThat(stack.current()).isEqualTo("none");
  }

  @Test
  void closingTwiceDoesNothing() {
    List<String> closed = new ArrayList<>();
    ScopeStack.Scope scope = stack.open("scope", "a", () -> closed.add("scope"));
    assertThat(scope.isOpen()).isTrue();
    scope.close();
    scope.close();
    assertThat(scope.isOpen()).isFalse();
    assertThat(closed).containsExactly("scope");
  }

  @Test
  void wrongOrderClosesTheInnerOnesAndNamesBoth() {
    List<String> closed = new ArrayList<>();
    ScopeStack.Scope outer = stack.open("outer", "a", () -> closed.add("outer"));
    ScopeStack.Scope middle = stack.open("middle", "b", () -> closed.add("middle"));
    ScopeStack.Scope inner = stack.open("inner", "c", () -> closed.add("inner"));
    assertThatThrownBy(middle::close)
        .isInstanceOf(ScopeOrderException.class)
        .hasMessageContaining("middle of model")
        .hasMessageContaining("inner of model")
        .hasRootCauseMessage("inner of model was opened here");
    assertThat(closed).containsExactly("inner", "middle");
    assertThat(stack.current()).isEqualTo("a");
    inner.close();
    outer.close();
    assertThat(closed).containsExactly("inner", "middle", "outer");
  }

  @Test
  void anotherThreadFeelsNothingAndClosesNothing() throws Exception {
    ExecutorService other = Executors.newSingleThreadExecutor(task -> new Thread(task, "other"));
    try (ScopeStack.Scope scope = stack.open("scope", "a", () -> {})) {
      assertThat(other.submit(stack::current).get()).isEqualTo("none");
      other
          .submit(
              () ->
                  assertThatThrownBy(scope::close)
                      .isInstanceOf(IllegalStateException.class)
                      .isNotInstanceOf(ScopeOrderException.class)
                      .hasMessageContaining(Thread.currentThread().getName())
                      .hasMessageContaining("scope of model"))
          .get();
      assertThat(scope.isOpen()).isTrue();
      assertThat(stack.current()).isEqualTo("a");
    } finally {
      other.shutdownNow();
    }
  }

  @Test
  void theOwnersEndClosesThisThreadsScopes() {
    ScopeStack.Scope outer = stack.open("outer", "a", () -> {});
    ScopeStack.Scope inner = stack.open("inner", "b", () -> {});
    assertThatThrownBy(stack::closeAll)
        .isInstanceOf(ScopeOrderException.class)
        .hasMessageContaining("inner of model");
    assertThat(outer.isOpen() || inner.isOpen()).isFalse();
    stack.closeAll();
  }

  @Test
  void aScopeLeftOpenOnAPooledThreadIsReportedWithItsOpeningStack() throws Exception {
    ExecutorService pool = Executors.newSingleThreadExecutor(task -> new Thread(task, "pooled"));
    Logger logger = Logger.getLogger("org.autocircuit.scopes");
    Records records = new Records();
    logger.addHandler(records);
    logger.setUseParentHandlers(false);
    try {
      pool.submit(this::forgetScope).get();
      assertThat(stack.describeOpen())
          .singleElement()
          .satisfies(
              open -> {
                assertThat(open)
                    .hasMessageContaining("forgotten of model is open on thread pooled");
                assertThat(open.getCause().getStackTrace())
                    .anyMatch(frame -> frame.getMethodName().equals("forgetScope"));
              });
      waitFor(() -> !records.isEmpty());
      assertThat(records.get(0).getMessage()).contains("forgotten of model", "pooled");
      assertThat(records.get(0).getThrown().getStackTrace())
          .anyMatch(frame -> frame.getMethodName().equals("forgetScope"));
      pool.submit(
              () ->
                  assertThatThrownBy(stack::current)
                      .isInstanceOf(IllegalStateException.class)
                      .hasMessageContaining("never closed"))
          .get();
      assertThat(pool.submit(stack::current).get()).isEqualTo("none");
      assertThat(stack.describeOpen()).isEmpty();
    } finally {
      logger.removeHandler(records);
      logger.setUseParentHandlers(true);
      pool.shutdownNow();
    }
  }

  @Test
  void aScopeOfAnotherThreadIsLoggedAtTheOwnersEnd() throws Exception {
    ExecutorService pool = Executors.newSingleThreadExecutor(task -> new Thread(task, "pooled"));
    Logger logger = Logger.getLogger("org.autocircuit.scopes");
    Records records = new Records();
    logger.addHandler(records);
    logger.setUseParentHandlers(false);
    try {
      ScopeStack.Scope scope = pool.submit(() -> stack.open("scope", "a", () -> {})).get();
      stack.closeAll();
      assertThat(records.get(0).getMessage()).contains("model was closed", "pooled");
      pool.submit(scope::close).get();
    } finally {
      logger.removeHandler(records);
      logger.setUseParentHandlers(true);
      pool.shutdownNow();
    }
  }

  @Test
  void scopesOfAThreadThatEndedAreLoggedAndClosed() throws Exception {
    Logger logger = Logger.getLogger("org.autocircuit.scopes");
    Records records = new Records();
    logger.addHandler(records);
    logger.setUseParentHandlers(false);
    try {
      List<String> closed = new ArrayList<>();
      List<ScopeStack.Scope> held = new ArrayList<>();
      Thread ended =
          new Thread(
              () -> {
                held.add(stack.open("outer", "a", () -> closed.add("outer")));
                held.add(stack.open("inner", "b", () -> closed.add("inner")));
              },
              "short-lived");
      ended.start();
      ended.join();
      assertThat(closed).isEmpty();
      try (ScopeStack.Scope scope = stack.open("scope", "c", () -> {})) {
        assertThat(closed).containsExactly("inner", "outer");
        assertThat(stack.current()).isEqualTo("c");
        assertThat(stack.describeOpen()).hasSize(1);
      }
      assertThat(held).noneMatch(ScopeStack.Scope::isOpen);
      assertThat(records.get(0).getMessage())
          .contains("thread short-lived ended without closing inner of model");
      assertThat(records.get(1).getThrown()).hasMessage("outer of model was opened here");
      held.forEach(ScopeStack.Scope::close);
      assertThat(closed).hasSize(2);
    } finally {
      logger.removeHandler(records);
      logger.setUseParentHandlers(true);
    }
  }

  /** Random opening and closing, in order and out of order, against a list as the model. */
  @Test
  void randomSequencesBehaveLikeAList() {
    for (long seed = 0; seed < 300; seed++) {
      Random random = new Random(seed);
      ScopeStack<String> stack = new ScopeStack<>("model", "none");
      List<ScopeStack.Scope> all = new ArrayList<>();
      List<String> expected = new ArrayList<>();
      List<Integer> openIndices = new ArrayList<>();
      List<Integer> closed = new ArrayList<>();
      for (int step = 0; step < 40; step++) {
        if (random.nextInt(5) < 2 || all.isEmpty()) {
          int index = all.size();
          all.add(stack.open("s" + index, "v" + index, () -> closed.add(index)));
          expected.add("v" + index);
          openIndices.add(index);
        } else {
          int victim = random.nextInt(all.size());
          int depth = openIndices.indexOf(victim);
          boolean inOrder = depth == openIndices.size() - 1;
          if (depth < 0 || inOrder) {
            all.get(victim).close();
          } else {
            assertThatThrownBy(all.get(victim)::close).isInstanceOf(ScopeOrderException.class);
          }
          if (depth >= 0) {
            expected.subList(depth, expected.size()).clear();
            openIndices.subList(depth, openIndices.size()).clear();
          }
        }
        assertThat(stack.current())
            .isEqualTo(expected.isEmpty() ? "none" : expected.get(expected.size() - 1));
        for (int i = 0; i < all.size(); i++) {
          assertThat(all.get(i).isOpen()).isEqualTo(openIndices.contains(i));
        }
        assertThat(closed).hasSize(all.size() - openIndices.size()).doesNotHaveDuplicates();
      }
      for (int i = all.size() - 1; i >= 0; i--) {
        all.get(i).close();
      }
      assertThat(stack.current()).isEqualTo("none");
    }
  }

  private Void forgetScope() {
    stack.open("forgotten", "a", () -> {});
    return null;
  }

  private static void waitFor(BooleanSupplier condition) throws InterruptedException {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (!condition.getAsBoolean() && System.nanoTime() < end) {
      System.gc();
      Thread.sleep(20);
    }
    assertThat(condition.getAsBoolean()).isTrue();
  }

  private static final class Records extends Handler {

    private final List<LogRecord> records = new ArrayList<>();

    @Override
    public synchronized void publish(LogRecord entry) {
      records.add(entry);
    }

    synchronized boolean isEmpty() {
      return records.isEmpty();
    }

    synchronized LogRecord get(int index) {
      return records.get(index);
    }

    @Override
    public void flush() {}

    @Override
    public void close() {}
  }
}
