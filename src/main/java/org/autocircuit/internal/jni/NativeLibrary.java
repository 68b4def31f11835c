package org.autocircuit.internal.jni;

import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.annotation.ByRef;
import org.bytedeco.javacpp.annotation.ByVal;
import org.bytedeco.javacpp.annotation.Const;
import org.bytedeco.javacpp.annotation.Namespace;
import org.bytedeco.javacpp.annotation.Platform;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;

/** Every native method of the project; mirrors {@code autocircuit/bridge/bridge.h}. */
@Platform(
    value = "linux-x86_64",
    include = {"torch/types.h", "autocircuit/bridge/bridge.h"},
    link = "autocircuit",
    library = "jniautocircuit")
@Namespace("autocircuit::bridge")
public final class NativeLibrary {
  static {
    // LibTorch first: ours finds it by soname among the libraries already loaded.
    Loader.load(org.bytedeco.pytorch.global.torch.class);
    Loader.load(NativeLibrary.class);
  }

  private NativeLibrary() {}

  public static native @ByVal Tensor add(@Const @ByRef Tensor a, @Const @ByRef Tensor b);

  public static native @ByVal TensorVector halves(@Const @ByRef TensorVector tensors);
}
