package org.autocircuit.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;

class CallScopeTest {

  @Test
  void temporariesAreFreed() {
    Tensor temporary;
    try (CallScope scope = new CallScope()) {
      temporary = torch.ones(3);
    }
    assertThat(temporary.isNull()).isTrue();
  }

  /** The last one first, after the temporaries, and all of them if one fails. */
  @Test
  void usesEndWithTheScope() {
    List<String> ended = new ArrayList<>();
    Tensor[] temporary = new Tensor[1];
    assertThatThrownBy(
            () -> {
              try (CallScope scope = new CallScope()) {
                temporary[0] = torch.ones(3);
                scope.hold(() -> ended.add("first, temporary freed: " + temporary[0].isNull()));
                scope.hold(
                    () -> {
                      ended.add("second");
                      throw new IllegalStateException("cannot end");
                    });
                assertThat(ended).isEmpty();
              }
            })
        .hasMessage("cannot end");
    assertThat(ended).containsExactly("second", "first, temporary freed: true");
  }

  @Test
  void whatIsHandedOutBelongsToTheScopeAround() {
    Tensor result;
    try (PointerScope caller = new PointerScope()) {
      try (PointerScope inner = new PointerScope()) {
        result = handedOut();
        assertThat(result.referenceCount()).isEqualTo(1);
      }
      assertThat(result.isNull()).isTrue();
      result = handedOut();
      assertThat(result.numel()).isEqualTo(3);
    }
    assertThat(result.isNull()).isTrue();
  }

  @Test
  void withoutAScopeTheCallerClosesTheResult() {
    Tensor result = handedOut();
    assertThat(result.numel()).isEqualTo(3);
    result.close();
    assertThat(result.isNull()).isTrue();
  }

  @Test
  @SuppressWarnings("unchecked") // PointerScope's generic varargs
  void scopesForOtherClassesArePassedOver() {
    try (PointerScope outer = new PointerScope()) {
      Tensor result;
      try (PointerScope vectors = new PointerScope(TensorVector.class)) {
        result = handedOut();
      }
      assertThat(result.numel()).isEqualTo(3);
    }
  }

  @Test
  void severalResultsAreHandedOutTogether() {
    List<Tensor> results;
    try (PointerScope caller = new PointerScope()) {
      try (CallScope scope = new CallScope()) {
        results = scope.handOutAll(List.of(torch.ones(3), torch.ones(3)));
      }
      assertThat(results).noneMatch(result -> result.isNull());
    }
    assertThat(results).allMatch(result -> result.isNull());
  }

  /** As when memory runs out after the first of several results. */
  @Test
  void aFailureBeforeResultsAreHandedOutLeavesNone() {
    List<Tensor> results = new ArrayList<>();
    assertThatThrownBy(
            () -> {
              try (CallScope scope = new CallScope()) {
                results.add(torch.ones(3));
                results.add(torch.ones(-1));
                scope.handOutAll(results);
              }
            })
        .isInstanceOf(RuntimeException.class);
    assertThat(results).hasSize(1).allMatch(result -> result.isNull());
  }

  @Test
  void aFailureFreesTheTemporaries() {
    Tensor[] temporary = new Tensor[1];
    assertThatThrownBy(
            () -> {
              try (CallScope scope = new CallScope()) {
                temporary[0] = torch.ones(3);
                throw new IllegalStateException("on purpose");
              }
            })
        .hasMessage("on purpose");
    assertThat(temporary[0].isNull()).isTrue();
  }

  private static Tensor handedOut() {
    try (CallScope scope = new CallScope()) {
      return scope.handOut(torch.ones(3));
    }
  }
}
