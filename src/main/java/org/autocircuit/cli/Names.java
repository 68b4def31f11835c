package org.autocircuit.cli;

import java.util.Locale;
import java.util.stream.Collectors;
import org.autocircuit.patch.Ablation;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Names of constants as people type them: small letters, with hyphens. */
final class Names {

  private Names() {}

  static String typed(Enum<?> constant) {
    return typed(constant.name());
  }

  static String typed(Ablation ablation) {
    return typed(ablation.name());
  }

  private static String typed(String name) {
    return name.toLowerCase(Locale.ROOT).replace('_', '-');
  }

  /** Reads an ablation. */
  static final class OfAblation implements ITypeConverter<Ablation> {

    @Override
    public Ablation convert(String value) {
      return Ablation.values().stream()
          .filter(ablation -> typed(ablation).equals(typed(value)))
          .findFirst()
          .orElseThrow(
              () ->
                  new TypeConversionException(
                      "expected one of %s, got '%s'"
                          .formatted(
                              Ablation.values().stream()
                                  .map(Names::typed)
                                  .collect(Collectors.joining(", ")),
                              value)));
    }
  }
}
