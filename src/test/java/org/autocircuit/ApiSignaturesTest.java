package org.autocircuit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.reflect.AnnotatedElement;
import java.lang.reflect.Executable;
import java.lang.reflect.Field;
import java.lang.reflect.GenericArrayType;
import java.lang.reflect.Member;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.lang.reflect.WildcardType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/**
 * Users see no internals: nothing that is public or protected outside of the internal packages
 * names an internal type, an {@code Object}, an address or a handle, and nothing takes an {@code
 * Optional}.
 */
class ApiSignaturesTest {

  private static final String INTERNAL = "org.autocircuit.internal";

  private static final List<Class<?>> OPTIONALS =
      List.of(Optional.class, OptionalInt.class, OptionalLong.class, OptionalDouble.class);

  /** A class whose signatures break the rule, so that the search is known to find them. */
  public static class Leaky {
    /** Names an internal type. */
    protected Leaky(List<? extends org.autocircuit.internal.CallScope[]> scopes) {}

    /** Takes any object. */
    public void take(Object any) {}

    /** Returns an address. */
    public long address() {
      return 0;
    }

    /** Takes an Optional. */
    public void choose(List<OptionalInt> maybe) {}

    /** Is allowed. */
    public Optional<String> name() {
      return Optional.empty();
    }

    /** Is allowed. */
    @Override
    public boolean equals(Object other) {
      return this == other;
    }

    /** Is allowed. */
    @Override
    public int hashCode() {
      return 1;
    }
  }

  @Test
  void publicSignaturesNameNothingInternalAndTakeNoOptional() throws Exception {
    List<Class<?>> types = publicTypes();
    assertThat(types).hasSizeGreaterThan(100).contains(PatchableModel.class);
    List<String> violations = new ArrayList<>();
    types.forEach(type -> check(type, violations));
    assertThat(violations).isEmpty();
  }

  @Test
  void internalsInASignatureAreFound() {
    List<String> violations = new ArrayList<>();
    check(Leaky.class, violations);
    assertThat(violations)
        .hasSize(4)
        .anyMatch(line -> line.contains("CallScope"))
        .anyMatch(line -> line.contains("take"))
        .anyMatch(line -> line.contains("address"))
        .anyMatch(line -> line.contains("takes an Optional"));
  }

  private static void check(Class<?> type, List<String> violations) {
    checkTypes(type, Stream.of(type.getGenericInterfaces()), violations);
    if (type.getSuperclass() != null && type.getSuperclass() != Object.class) {
      checkTypes(type, Stream.of(type.getGenericSuperclass()), violations);
    }
    checkTypes(type, Stream.of(type.getTypeParameters()), violations);
    for (Field field : type.getDeclaredFields()) {
      if (isSeen(field)) {
        checkName(field, violations);
        checkTypes(field, Stream.of(field.getGenericType()), violations);
      }
    }
    Stream.<Executable>concat(
            Stream.of(type.getDeclaredConstructors()), Stream.of(type.getDeclaredMethods()))
        .filter(ApiSignaturesTest::isSeen)
        .filter(executable -> !isOfObject(executable))
        .forEach(
            executable -> {
              checkName(executable, violations);
              checkOptionals(executable, violations);
              checkTypes(executable, types(executable), violations);
            });
  }

  private static Stream<Type> types(Executable executable) {
    Stream<Type> types =
        Stream.of(
                executable.getGenericParameterTypes(),
                executable.getGenericExceptionTypes(),
                executable.getTypeParameters())
            .flatMap(Stream::of);
    return executable instanceof Method method
        ? Stream.concat(types, Stream.of(method.getGenericReturnType()))
        : types;
  }

  private static void checkName(Member member, List<String> violations) {
    String name = member.getName().toLowerCase(Locale.ROOT);
    if (name.endsWith("address") || name.endsWith("handle")) {
      violations.add(member + " names an address or a handle");
    }
  }

  /** Callers leave out what they do not have; a record's components are its constructor's. */
  private static void checkOptionals(Executable executable, List<String> violations) {
    Set<Class<?>> named = new HashSet<>();
    Set<Type> seen = new HashSet<>();
    Stream.of(executable.getGenericParameterTypes()).forEach(type -> collect(type, named, seen));
    if (OPTIONALS.stream().anyMatch(named::contains)) {
      violations.add(executable + " takes an Optional");
    }
  }

  private static void checkTypes(
      AnnotatedElement where, Stream<? extends Type> types, List<String> violations) {
    Set<Class<?>> named = new HashSet<>();
    Set<Type> seen = new HashSet<>();
    types.forEach(type -> collect(type, named, seen));
    for (Class<?> type : named) {
      if (type == Object.class
          || type.getName().startsWith(INTERNAL)
          || type.getSimpleName().endsWith("Handle")) {
        violations.add(where + " names " + type.getName());
      }
    }
  }

  private static void collect(Type type, Set<Class<?>> named, Set<Type> seen) {
    if (!seen.add(type)) {
      return;
    }
    if (type instanceof Class<?> raw) {
      named.add(raw.isArray() ? element(raw) : raw);
    } else if (type instanceof ParameterizedType parameterized) {
      collect(parameterized.getRawType(), named, seen);
      Stream.of(parameterized.getActualTypeArguments()).forEach(each -> collect(each, named, seen));
    } else if (type instanceof GenericArrayType array) {
      collect(array.getGenericComponentType(), named, seen);
    } else if (type instanceof WildcardType wildcard) {
      Stream.of(wildcard.getLowerBounds()).forEach(each -> collect(each, named, seen));
      collectBounds(wildcard.getUpperBounds(), named, seen);
    } else if (type instanceof TypeVariable<?> variable) {
      collectBounds(variable.getBounds(), named, seen);
    }
  }

  /** Collects bounds that were written; where there is none, it is Object. */
  private static void collectBounds(Type[] bounds, Set<Class<?>> named, Set<Type> seen) {
    Stream.of(bounds)
        .filter(bound -> bound != Object.class)
        .forEach(bound -> collect(bound, named, seen));
  }

  private static Class<?> element(Class<?> array) {
    return array.isArray() ? element(array.getComponentType()) : array;
  }

  private static boolean isSeen(Member member) {
    return !member.isSynthetic()
        && (Modifier.isPublic(member.getModifiers())
            || Modifier.isProtected(member.getModifiers()));
  }

  private static boolean isOfObject(Executable executable) {
    return Stream.of(Object.class.getDeclaredMethods())
        .anyMatch(
            method ->
                method.getName().equals(executable.getName())
                    && List.of(method.getParameterTypes())
                        .equals(List.of(executable.getParameterTypes())));
  }

  private static List<Class<?>> publicTypes() throws IOException, ReflectiveOperationException {
    Path classes = Path.of("target/classes");
    List<Class<?>> types = new ArrayList<>();
    try (Stream<Path> files = Files.walk(classes.resolve("org/autocircuit"))) {
      for (Path file : files.filter(each -> each.toString().endsWith(".class")).toList()) {
        String name = classes.relativize(file).toString().replace('/', '.');
        if (name.startsWith(INTERNAL) || name.endsWith("package-info.class")) {
          continue;
        }
        Class<?> type =
            Class.forName(
                name.substring(0, name.length() - ".class".length()),
                false,
                ApiSignaturesTest.class.getClassLoader());
        if (isSeen(type)) {
          types.add(type);
        }
      }
    }
    return types;
  }

  /** Returns whether users can name the type: so can they the types around it. */
  private static boolean isSeen(Class<?> type) {
    boolean seen =
        Modifier.isPublic(type.getModifiers()) || Modifier.isProtected(type.getModifiers());
    return seen && (type.getEnclosingClass() == null || isSeen(type.getEnclosingClass()));
  }
}
