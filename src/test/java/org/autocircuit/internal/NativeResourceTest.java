package org.autocircuit.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

class NativeResourceTest {

  private final AtomicInteger freed = new AtomicInteger();
  private final NativeResource resource = new NativeResource("Thing", freed::incrementAndGet);

  @Test
  void closingFreesOnce() {
    assertThat(resource.closeFirst()).isTrue();
    assertThat(resource.closeFirst()).isFalse();
    resource.close();
    assertThat(freed).hasValue(1);
    assertThat(resource.isClosed()).isTrue();
  }

  @Test
  void theLastUseFrees() throws Exception {
    ExecutorService other = Executors.newSingleThreadExecutor();
    try {
      NativeResource.Use first = resource.use();
      NativeResource.Use second = other.submit(resource::use).get();
      resource.close();
      first.close();
      assertThat(freed).hasValue(0);
      assertThatThrownBy(resource::use)
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("Thing is closed");
      other.submit(second::close).get();
      assertThat(freed).hasValue(1);
    } finally {
      other.shutdown();
    }
  }

  /** One use around several steps is enough for all of them. */
  @Test
  void whoeverUsesItAlreadyMayDoSoAgain() throws Exception {
    ExecutorService other = Executors.newSingleThreadExecutor();
    try (NativeResource.Use use = resource.use()) {
      resource.close();
      resource.requireUsable();
      try (NativeResource.Use step = resource.use()) {
        assertThat(freed).hasValue(0);
      }
      assertThat(freed).hasValue(0);
      assertThatThrownBy(() -> other.submit(resource::requireUsable).get())
          .hasRootCauseInstanceOf(IllegalStateException.class);
      assertThatThrownBy(() -> other.submit(resource::use).get())
          .hasRootCauseMessage("Thing is closed");
    } finally {
      other.shutdown();
    }
    assertThat(freed).hasValue(1);
    assertThatThrownBy(resource::requireUsable).isInstanceOf(IllegalStateException.class);
  }

  /** A failure while freeing must not leave the JVM waiting for a call that is over. */
  @Test
  void aFailureToFreeEndsTheUse() {
    NativeResource broken =
        new NativeResource(
            "Broken",
            () -> {
              throw new IllegalArgumentException("no");
            });
    NativeResource.Use use = broken.use();
    broken.close();
    assertThatThrownBy(use::close).isInstanceOf(IllegalArgumentException.class);
    assertThat(Held.contains(ShutdownGuard.class)).isFalse();
  }

  @Test
  void racingUsesNeverMeetAFreedResource() throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(8);
    try {
      for (int round = 0; round < 200; round++) {
        AtomicInteger frees = new AtomicInteger();
        AtomicInteger violations = new AtomicInteger();
        NativeResource shared = new NativeResource("Shared", frees::incrementAndGet);
        CountDownLatch start = new CountDownLatch(1);
        List<Future<?>> tasks = new ArrayList<>();
        for (int i = 0; i < 7; i++) {
          tasks.add(threads.submit(() -> useUntilClosed(shared, frees, violations, start)));
        }
        tasks.add(
            threads.submit(
                () -> {
                  start.await();
                  shared.close();
                  return null;
                }));
        start.countDown();
        for (Future<?> task : tasks) {
          task.get();
        }
        assertThat(violations).hasValue(0);
        assertThat(frees).hasValue(1);
      }
    } finally {
      threads.shutdownNow();
    }
  }

  private static Void useUntilClosed(
      NativeResource shared, AtomicInteger frees, AtomicInteger violations, CountDownLatch start)
      throws InterruptedException {
    start.await();
    while (true) {
      try (NativeResource.Use use = shared.use()) {
        violations.addAndGet(frees.get());
      } catch (IllegalStateException e) {
        return null;
      }
    }
  }

  /** The net that is off in tests is another one. A use that still runs holds it. */
  @Test
  void whatNobodyClosesIsFreedWhenItIsUnreachable() throws InterruptedException {
    AtomicInteger collected = new AtomicInteger();
    NativeResource.Use use = NativeResource.collected("Value", collected::incrementAndGet).use();
    for (int i = 0; i < 5; i++) {
      System.gc();
      Thread.sleep(20);
    }
    assertThat(collected).hasValue(0);
    use.close();
    for (int i = 0; i < 200 && collected.get() == 0; i++) {
      System.gc();
      Thread.sleep(20);
    }
    assertThat(collected).hasValue(1);
  }
}
