package org.autocircuit.graph;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/** From names and edges to flat indices; explains what is wrong with a name that has none. */
final class EdgeLookup {

  private static final Pattern POSITION = Pattern.compile("-?[0-9]{1,9}");
  private static final Pattern KEY_OR_VALUE = Pattern.compile("(A[0-9]+\\.)([0-9]{1,6})(\\.[KV])");

  private final List<SrcNode> srcs;
  private final List<DestNode> dests;
  private final List<DestModule> destModules;
  private final OptionalInt seqLen;
  private final Map<String, SrcNode> srcByName = new HashMap<>();
  private final Map<String, Integer> destByName = new HashMap<>();
  private final DestModule[] moduleOfDest;

  EdgeLookup(GraphLayout layout, OptionalInt seqLen) {
    this.srcs = layout.srcs;
    this.dests = layout.dests;
    this.destModules = layout.destModules;
    this.seqLen = seqLen;
    srcs.forEach(src -> srcByName.put(src.name(), src));
    moduleOfDest = new DestModule[dests.size()];
    for (DestModule module : destModules) {
      for (int row = 0; row < module.nDests(); row++) {
        int dest = module.firstDest() + row;
        moduleOfDest[dest] = module;
        destByName.put(dests.get(dest).name(), dest);
      }
    }
  }

  /** Indices of the edges that {@code name} means: at all positions, or as NAME@N at one. */
  int[] indices(String name) {
    if (seqLen.isEmpty() || positionIn(name).isPresent()) {
      return new int[] {index(name, OptionalInt.empty())};
    }
    int first = index(name, OptionalInt.of(0));
    int stride =
        moduleOfDest[destByName.get(name.substring(name.indexOf("->") + 2))].positionSize();
    return IntStream.range(0, seqLen.getAsInt())
        .map(position -> first + position * stride)
        .toArray();
  }

  /** The position N of NAME@N. */
  private static OptionalInt positionIn(String name) {
    int at = name.lastIndexOf('@');
    return at >= 0 && POSITION.matcher(name.substring(at + 1)).matches()
        ? OptionalInt.of(Integer.parseInt(name, at + 1, name.length(), 10))
        : OptionalInt.empty();
  }

  /** The index of the edge with the given name, or an exception that suggests the nearest name. */
  int index(String name, OptionalInt position) {
    OptionalInt named = positionIn(name);
    if (position.isEmpty() && named.isPresent()) {
      return index(name.substring(0, name.lastIndexOf('@')), named);
    }
    int arrow = name.indexOf("->");
    if (arrow < 0) {
      throw new IllegalArgumentException(
          "unknown edge '%s': expected a name of the form 'source->destination'; did you mean %s?"
              .formatted(name, nearest(name, "")));
    }
    String srcName = name.substring(0, arrow);
    String destName = name.substring(arrow + 2);
    SrcNode src = srcByName.get(srcName);
    Integer dest = destByName.get(destName);
    if (src == null || dest == null || !moduleOfDest[dest].isFedBy(src)) {
      throw new IllegalArgumentException(
          "unknown edge '%s': %s; did you mean %s?"
              .formatted(name, reason(srcName, destName), nearest(srcName, destName)));
    }
    if (position.isPresent()) {
      checkPosition(position.getAsInt(), "edge '" + name + "'");
    } else if (seqLen.isPresent()) {
      throw new IllegalArgumentException(
          "edge '%1$s' needs a token position from 0 to %2$s, as in '%1$s@%2$s': the graph has one"
                  .formatted(name, seqLen.getAsInt() - 1)
              + " edge for each position");
    }
    return index(src, dest, position);
  }

  /** The index of an edge, or -1 if it is not part of the graph. */
  int find(Edge edge) {
    SrcNode src = srcByName.get(edge.src().name());
    Integer dest = destByName.get(edge.dest().name());
    if (!edge.src().equals(src)
        || dest == null
        || !edge.dest().equals(dests.get(dest))
        || !moduleOfDest[dest].isFedBy(src)
        || edge.position().isPresent() != seqLen.isPresent()
        || edge.position().orElse(0) < 0
        || edge.position().orElse(0) >= seqLen.orElse(1)) {
      return -1;
    }
    return index(src, dest, edge.position());
  }

  void checkPosition(int position, String what) {
    if (seqLen.isEmpty()) {
      throw new IllegalArgumentException(
          "%s at token position %s: the graph was made without a sequence length, so it has no"
                  .formatted(what, position)
              + " positions; TextModel.perPosition(prompts) and"
              + " PatchableModelOptions.withSeqLen(length) make one that has");
    }
    if (position < 0 || position >= seqLen.getAsInt()) {
      throw new IllegalArgumentException(
          "%s at token position %s: the graph has positions 0 to %s"
              .formatted(what, position, seqLen.getAsInt() - 1));
    }
  }

  private int index(SrcNode src, int dest, OptionalInt position) {
    DestModule module = moduleOfDest[dest];
    return module.index(position.orElse(0), dest - module.firstDest(), src.srcIdx());
  }

  private String reason(String srcName, String destName) {
    SrcNode src = srcByName.get(srcName);
    Integer dest = destByName.get(destName);
    if (src == null && dest == null) {
      return "neither source '%s' nor destination '%s' exists".formatted(srcName, destName)
          + sharedHeads(destName);
    }
    if (src == null) {
      return "there is no source '%s'".formatted(srcName);
    }
    if (dest == null) {
      return "there is no destination '%s'".formatted(destName) + sharedHeads(destName);
    }
    DestModule module = moduleOfDest[dest];
    String reason =
        src.srcIdx() >= module.inStop()
            ? "source '%s' does not come before destination '%s'%s"
            : "source '%s' reaches destination '%s'%s only through a residual node";
    return (reason + "; that destination is fed by '%s' to '%s'")
        .formatted(
            srcName,
            destName,
            readers(dests.get(dest)),
            srcs.get(module.inStart()),
            srcs.get(module.inStop() - 1));
  }

  private static String readers(DestNode dest) {
    return dest.queryHeads().isEmpty() ? "" : " (" + dest.readers() + ")";
  }

  /** Says how many heads keys and values have, if the name counts them as query heads. */
  private String sharedHeads(String destName) {
    Matcher matcher = KEY_OR_VALUE.matcher(destName);
    Integer first =
        matcher.matches() ? destByName.get(matcher.group(1) + 0 + matcher.group(3)) : null;
    if (first == null || dests.get(first).queryHeads().isEmpty()) {
      return "";
    }
    int heads = moduleOfDest[first].nDests();
    String count =
        " (there %s unless ungrouped"
            .formatted(heads == 1 ? "is 1 key/value head" : "are " + heads + " key/value heads");
    return sharedBy(destName)
        .map(
            dest ->
                "%s; query head %s reads kv %s)"
                    .formatted(count, matcher.group(2), dest.headIdx().getAsInt()))
        .orElse(count + ")");
  }

  /** The key/value head that is read by the query head that a name such as A4.7.V means. */
  private Optional<DestNode> sharedBy(String destName) {
    Matcher matcher = KEY_OR_VALUE.matcher(destName);
    if (!matcher.matches() || destByName.containsKey(destName)) {
      return Optional.empty();
    }
    int queryHead = Integer.parseInt(matcher.group(2));
    return dests.stream()
        .filter(dest -> dest.queryHeads().contains(queryHead))
        .filter(dest -> dest.name().startsWith(matcher.group(1)))
        .filter(dest -> dest.name().endsWith(matcher.group(3)))
        .findFirst();
  }

  /** The existing edge whose two node names are nearest to the given ones, in quotes. */
  private String nearest(String srcName, String destName) {
    String name = sharedBy(destName).map(DestNode::name).orElse(destName);
    int[] srcDistance = new int[srcs.size()];
    for (SrcNode src : srcs) {
      srcDistance[src.srcIdx()] = NearestName.distance(srcName, src.name());
    }
    int best = Integer.MAX_VALUE;
    Edge nearest = null;
    for (DestModule module : destModules) {
      int nearestSrc = module.inStart();
      for (int src = module.inStart(); src < module.inStop(); src++) {
        nearestSrc = srcDistance[src] < srcDistance[nearestSrc] ? src : nearestSrc;
      }
      for (int row = 0; row < module.nDests(); row++) {
        DestNode dest = dests.get(module.firstDest() + row);
        int distance = srcDistance[nearestSrc] + NearestName.distance(name, dest.name());
        if (distance < best) {
          best = distance;
          nearest = new Edge(srcs.get(nearestSrc), dest);
        }
      }
    }
    return "'" + nearest.name() + "'" + readers(nearest.dest());
  }
}
