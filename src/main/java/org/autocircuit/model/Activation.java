package org.autocircuit.model;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** The function that an MLP applies to its hidden values. */
public enum Activation {
  /** GELU with the hyperbolic tangent, {@code gelu_new} (GPT-2, GPT-J, Gemma). */
  GELU_NEW,
  /** GELU with the error function, {@code gelu} (GPT-NeoX). */
  GELU,
  /** The positive part, {@code relu}. */
  RELU,
  /** {@code x * sigmoid(x)}, {@code silu} (Llama, Mistral, Qwen). */
  SILU;

  /** The name in TransformerLens and, for most models, in Hugging Face's {@code config.json}. */
  public String text() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The names of all activations. */
  public static List<String> names() {
    return Arrays.stream(values()).map(Activation::text).toList();
  }

  /**
   * The activation with the given name; besides those of {@link #text()}, Hugging Face's {@code
   * gelu_pytorch_tanh}, {@code gelu_python_tanh}, {@code gelu_accurate} and {@code gelu_fast} are
   * {@link #GELU_NEW}, {@code gelu_python} is {@link #GELU}, and {@code swish} is {@link #SILU}.
   *
   * @throws IllegalArgumentException if there is none
   */
  public static Activation named(String name) {
    return switch (String.valueOf(name)) {
      case "gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate", "gelu_fast" ->
          GELU_NEW;
      case "gelu", "gelu_python" -> GELU;
      case "relu" -> RELU;
      case "silu", "swish" -> SILU;
      default ->
          throw new IllegalArgumentException(
              "activation must be one of %s, got %s".formatted(names(), name));
    };
  }
}
