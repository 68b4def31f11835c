package org.autocircuit;

/**
 * The device on which tests make models, tokens, masks and activations: the CPU, or what {@code
 * -Dautocircuit.device} names, for instance {@code cuda}. What they read is copied to the CPU.
 * Models that tests load from files, and what is said about memory, stay on the CPU.
 */
public final class TestDevice {

  public static final String NAME = System.getProperty("autocircuit.device", "cpu");

  private TestDevice() {}
}
