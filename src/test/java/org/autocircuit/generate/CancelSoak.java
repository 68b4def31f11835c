package org.autocircuit.generate;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.concurrent.locks.LockSupport;
import org.autocircuit.Threads;
import org.autocircuit.Workspaces;
import org.autocircuit.patch.Masks;
import org.autocircuit.text.ExampleModel;
import org.autocircuit.text.TextModel;
import org.bytedeco.javacpp.Pointer;

/**
 * Cancels 10,000 requests (or as many as its argument says) at random moments and prints what
 * memory is left. Run it without JavaCPP's collector, {@code
 * -Dorg.bytedeco.javacpp.noPointerGC=true}, and with a heap whose pages are all there from the
 * start, so that the resident set shows native memory: {@code -Xms128m -Xmx128m
 * -XX:+AlwaysPreTouch}.
 */
public final class CancelSoak {

  private static final int AT_ONCE = 12;

  private CancelSoak() {}

  /** Takes the number of requests. */
  public static void main(String[] args) {
    int requests = args.length == 0 ? 10_000 : Integer.parseInt(args[0]);
    Threads.set(1);
    try (TextModel text = ExampleModel.open();
        Generator generator =
            Generator.builder(text.model()).chunkTokens(8).maxActive(8).queue(AT_ONCE).build()) {
      SplittableRandom random = new SplittableRandom(1);
      cancel(generator, text, random, requests / 5);
      print("after warm-up", generator);
      for (int part = 1; part <= 4; part++) {
        cancel(generator, text, random, requests / 5);
        print("after " + (part + 1) * (requests / 5), generator);
      }
    }
  }

  private static void cancel(
      Generator generator, TextModel text, SplittableRandom random, int requests) {
    Deque<Generation> open = new ArrayDeque<>();
    for (int i = 0; i < requests; i++) {
      open.add(generator.submit(request(text, random)));
      LockSupport.parkNanos(random.nextLong(6_000_000));
      if (open.size() == AT_ONCE) {
        for (int n = random.nextInt(1, AT_ONCE); n > 0; n--) {
          open.remove().close();
        }
      }
    }
    open.forEach(Generation::close);
    while (generator.state().active() > 0) {
      LockSupport.parkNanos(1_000_000);
    }
  }

  private static GenerationRequest request(TextModel text, SplittableRandom random) {
    int length = random.nextInt(1, 20);
    long[] prompt = random.longs(length, 1, 200).toArray();
    long[] corrupt = random.longs(length, 1, 200).toArray();
    Masks masks = Masks.uniform(text.graph(), 0.5);
    GenerationRequest request = GenerationRequest.of(prompt).withStop(Stop.after(1000));
    return switch (random.nextInt(4)) {
      case 0 -> request;
      case 1 -> request.withPatch(GenerationPatch.zero(masks));
      case 2 -> request.withPatch(GenerationPatch.resample(corrupt, masks, Donor.FOLLOWS));
      default -> request.withPatch(GenerationPatch.resample(corrupt, masks, Donor.FREE));
    };
  }

  private static void print(String when, Generator generator) {
    System.gc(); // so that the heap's share of the resident set is that of what is in use
    GeneratorState state = generator.state();
    System.out.println(
        String.format(
            Locale.ROOT,
            "%s: resident %.1f MB, pool %.1f MB, JavaCPP %d bytes, kv %d bytes, ended %s, tokens %d",
            when,
            Pointer.physicalBytes() / 1e6,
            Workspaces.bytes() / 1e6,
            Pointer.totalBytes(),
            state.kvReserved(),
            state.finished(),
            state.tokens()));
  }
}
