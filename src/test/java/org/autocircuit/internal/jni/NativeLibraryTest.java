package org.autocircuit.internal.jni;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;

class NativeLibraryTest {
  @Test
  void presetTensorsGoInAndOut() {
    try (PointerScope scope = new PointerScope()) {
      Tensor ones = torch.ones(2, 3);
      Tensor sum = NativeLibrary.add(ones, ones);
      assertThat(sum.sum().item().toDouble()).isEqualTo(12.0);
      TensorVector halves = NativeLibrary.halves(new TensorVector(ones, sum));
      assertThat(halves.size()).isEqualTo(2);
      assertThat(halves.get(0).sum().item().toDouble()).isEqualTo(3.0);
    }
  }

  @Test
  void nativeErrorIsAJavaException() {
    try (PointerScope scope = new PointerScope()) {
      assertThatThrownBy(() -> NativeLibrary.add(torch.ones(2), torch.ones(3)))
          .isInstanceOf(RuntimeException.class)
          .hasMessageContaining("expected [2], got [3]");
    }
  }
}
