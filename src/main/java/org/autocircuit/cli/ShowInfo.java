package org.autocircuit.cli;

import java.io.PrintWriter;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.autocircuit.Threads;
import org.autocircuit.internal.Devices;
import org.autocircuit.internal.Figures;
import org.autocircuit.internal.NativeMath;
import org.bytedeco.pytorch.global.torch;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/** Says what the program is, and what it runs on. */
@Command(
    name = "info",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    description =
        "Prints versions, the processor and what it computes with, devices, threads and memory: what"
            + " to say with a question or a measured time.",
    footerHeading = "%nExample:%n",
    footer = "  autocircuit info")
final class ShowInfo implements Callable<Integer> {

  private static final int MOST_DEVICES = 64;

  @Spec private CommandSpec spec;

  @Override
  public Integer call() {
    PrintWriter out = spec.commandLine().getOut();
    String presets = torch.class.getPackage().getImplementationVersion();
    out.println(Wrap.fact("program", String.join("; ", new Version().getVersion())));
    out.println(Wrap.fact("LibTorch", "presets " + (presets == null ? "(unknown)" : presets)));
    out.println(
        Wrap.fact(
            "system",
            "%s %s, %s"
                .formatted(
                    System.getProperty("os.name"),
                    System.getProperty("os.version"),
                    System.getProperty("os.arch"))));
    out.println(Wrap.fact("machine", NativeMath.machine()));
    out.println(Wrap.fact("devices", String.join(", ", devices())));
    out.println(
        Wrap.fact(
            "threads",
            "%s of the computation, %s"
                .formatted(
                    Threads.get(),
                    Figures.count(Runtime.getRuntime().availableProcessors(), "processor"))));
    out.println(Wrap.fact("memory", memory()));
    out.flush();
    return Main.OK;
  }

  private static List<String> devices() {
    List<String> devices = new ArrayList<>(List.of("cpu"));
    for (int i = 0; i < MOST_DEVICES && isThere("cuda:" + i); i++) {
      devices.add("cuda:" + i);
    }
    return devices;
  }

  private static boolean isThere(String device) {
    try {
      Devices.require(device);
      return true;
    } catch (IllegalArgumentException e) {
      return false;
    }
  }

  private static String memory() {
    long heap = Runtime.getRuntime().maxMemory();
    return ManagementFactory.getOperatingSystemMXBean()
            instanceof com.sun.management.OperatingSystemMXBean system
        ? String.format(
            Locale.ROOT,
            "%,d MiB, of which %,d are free; Java's heap at most %,d",
            system.getTotalMemorySize() >> 20,
            system.getFreeMemorySize() >> 20,
            heap >> 20)
        : String.format(Locale.ROOT, "Java's heap at most %,d MiB", heap >> 20);
  }
}
