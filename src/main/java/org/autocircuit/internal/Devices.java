package org.autocircuit.internal;

import java.util.Objects;
import org.autocircuit.internal.jni.NativeLoader;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The devices that this process's LibTorch computes on. */
public final class Devices {

  private Devices() {}

  /**
   * Checks that a device is there, by putting a number on it.
   *
   * @param device LibTorch's name of it
   * @throws IllegalArgumentException in one line, if it is not there
   */
  public static void require(String device) {
    Objects.requireNonNull(device, "device");
    NativeLoader.require();
    if (!device.matches("(cpu|cuda|meta)(:\\d{1,3})?")) {
      throw new IllegalArgumentException(
          "device: expected cpu, cuda, cuda:N or meta, got " + device);
    }
    try (CallScope scope = new CallScope()) {
      TensorArrays.zeros(ScalarType.Float, device, 1);
    } catch (RuntimeException e) {
      String problem = e.getMessage().lines().findFirst().orElse("");
      throw new IllegalArgumentException(
          problem.contains("not linked with support for cuda")
              ? ("device %s: this LibTorch is the CPU build; put org.bytedeco:pytorch's artifact of"
                      + " classifier linux-x86_64-gpu on the class path in place of linux-x86_64,"
                      + " and CUDA beside it")
                  .formatted(device)
              : "device %s: there is none: %s".formatted(device, problem),
          e);
    }
  }
}
