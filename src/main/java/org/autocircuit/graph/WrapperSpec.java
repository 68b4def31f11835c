package org.autocircuit.graph;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Holds what native code must know about one hook point that the graph patches: which sources it
 * writes, which it reads, and where its masks lie. A module that is both a destination and a source
 * (the residual nodes of a residual graph) has one specification.
 *
 * @param moduleName the hook point
 * @param srcStart index of the first source it writes, or -1 if it is no source
 * @param srcStop index after the last source it writes, or -1 if it is no source
 * @param inStart index of the first source that feeds it, or -1 if it is no destination
 * @param inStop index after the last source that feeds it, or -1 if it is no destination
 * @param rows size of its head dimension as a destination, or 0 if it has none
 * @param maskOffset flat index of its first mask value, or -1 if it is no destination
 */
public record WrapperSpec(
    String moduleName,
    int srcStart,
    int srcStop,
    int inStart,
    int inStop,
    int rows,
    int maskOffset) {

  /** The number of values that {@link #pack} writes for each wrapper. */
  public static final int NUMBERS = 6;

  /** Returns whether the module writes sources. */
  public boolean isSource() {
    return srcStart >= 0;
  }

  /** Returns whether the module reads sources. */
  public boolean isDestination() {
    return inStart >= 0;
  }

  /**
   * Specifications in the form in which they cross to native code.
   *
   * @param modules the module names, joined by line feeds
   * @param numbers {@link #NUMBERS} numbers for each module, in the order {@code srcStart, srcStop,
   *     inStart, inStop, rows, maskOffset}; the array is not copied
   */
  @SuppressWarnings("ArrayRecordComponent") // goes straight to native code and is never compared
  public record Packed(String modules, long[] numbers) {}

  static List<WrapperSpec> of(ModelGraph graph) {
    Map<String, SrcModule> pureSources = new LinkedHashMap<>();
    graph.srcModules().forEach(module -> pureSources.put(module.moduleName(), module));
    List<WrapperSpec> specs = new ArrayList<>();
    for (DestModule dest : graph.destModules()) {
      SrcModule src = pureSources.remove(dest.moduleName());
      specs.add(
          new WrapperSpec(
              dest.moduleName(),
              src == null ? -1 : src.srcStart(),
              src == null ? -1 : src.srcStop(),
              dest.inStart(),
              dest.inStop(),
              dest.rows(),
              dest.offset()));
    }
    for (SrcModule src : pureSources.values()) {
      specs.add(new WrapperSpec(src.moduleName(), src.srcStart(), src.srcStop(), -1, -1, 0, -1));
    }
    return Collections.unmodifiableList(specs);
  }

  /** Packs specifications, keeping their order. */
  public static Packed pack(List<WrapperSpec> specs) {
    StringBuilder modules = new StringBuilder();
    long[] numbers = new long[specs.size() * NUMBERS];
    int next = 0;
    for (WrapperSpec spec : specs) {
      if (next > 0) {
        modules.append('\n');
      }
      modules.append(spec.moduleName);
      numbers[next++] = spec.srcStart;
      numbers[next++] = spec.srcStop;
      numbers[next++] = spec.inStart;
      numbers[next++] = spec.inStop;
      numbers[next++] = spec.rows;
      numbers[next++] = spec.maskOffset;
    }
    return new Packed(modules.toString(), numbers);
  }
}
