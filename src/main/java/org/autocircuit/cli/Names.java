package org.autocircuit.cli;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.autocircuit.graph.NearestName;
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

  /** Reads a constant of an enum; the complaint of another word names the nearest one. */
  static <E extends Enum<E>> ITypeConverter<E> ofEnum(Class<E> type) {
    return of(Arrays.asList(type.getEnumConstants()), Names::typed);
  }

  private static <T> ITypeConverter<T> of(List<T> constants, Function<T, String> name) {
    Map<String, T> byName =
        constants.stream()
            .collect(
                Collectors.toMap(
                    name, Function.identity(), (some, other) -> some, LinkedHashMap::new));
    return value -> {
      T found = byName.get(typed(value));
      if (found == null) {
        throw new TypeConversionException(
            "expected one of %s, got '%s'; did you mean '%s'?"
                .formatted(
                    String.join(", ", byName.keySet()),
                    value,
                    NearestName.of(typed(value), byName.keySet())));
      }
      return found;
    };
  }

  /** Reads an ablation. */
  static final class OfAblation implements ITypeConverter<Ablation> {

    @Override
    public Ablation convert(String value) throws Exception {
      return of(Ablation.values(), Names::typed).convert(value);
    }
  }
}
