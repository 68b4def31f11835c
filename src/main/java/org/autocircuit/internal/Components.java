package org.autocircuit.internal;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * The values that an immutable object is compared and printed by, as a record is by its components.
 * A public class that may get more of them is no record, whose constructor would change with each.
 *
 * @param values name to value, in the order in which they are printed
 */
public record Components(Map<String, Object> values) {

  /**
   * Returns components in this order.
   *
   * @param namesAndValues a name, its value, the next name, and so on
   */
  public static Components of(Object... namesAndValues) {
    Map<String, Object> values = new LinkedHashMap<>();
    for (int i = 0; i < namesAndValues.length; i += 2) {
      values.put((String) namesAndValues[i], namesAndValues[i + 1]);
    }
    return new Components(values);
  }

  /** Returns {@code [name=value, …]}. */
  @Override
  public String toString() {
    return values.entrySet().stream()
        .map(each -> each.getKey() + "=" + each.getValue())
        .collect(Collectors.joining(", ", "[", "]"));
  }
}
