package org.autocircuit.benchmark;

import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.function.DoubleSupplier;
import org.autocircuit.PatchableModel;
import org.autocircuit.PatchableModelOptions;
import org.autocircuit.Threads;
import org.autocircuit.Workspaces;
import org.autocircuit.attribution.AnswerLoss;
import org.autocircuit.attribution.AnswerLoss.AnswerFunction;
import org.autocircuit.attribution.AnswerLoss.GradFunction;
import org.autocircuit.attribution.EdgeAttribution;
import org.autocircuit.model.Biases;
import org.autocircuit.model.Model;
import org.autocircuit.model.Norm;
import org.autocircuit.model.Precision;
import org.autocircuit.model.RotaryPositions;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.pass.ModelInput;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.PatchContext;
import org.autocircuit.patch.SourceActivations;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Patches and attributes a Llama of 1.1 billion random bf16 weights, and fails if the process ever
 * held more than 14 GB, or what the command line says.
 *
 * <pre>
 * mvn -q -Pbenchmark -Dbenchmark.class=org.autocircuit.benchmark.LargeModel
 * mvn -q -Pbenchmark -Dbenchmark.class=org.autocircuit.benchmark.LargeModel \
 *     -Dbenchmark.arguments="4 64 FLOAT32"
 * mvn -q -Pbenchmark -Dbenchmark.class=org.autocircuit.benchmark.LargeModel \
 *     -Dbenchmark.arguments="16 128 BFLOAT16 12"
 * </pre>
 *
 * Arguments: prompts, tokens of each, precision, GB that the process may hold. With the last one,
 * attribution gets what is left of them as its limit of memory, and nothing is patched before. The
 * peak is that of the whole process, which Maven starts for this alone: weights, JVM and all.
 */
public final class LargeModel {

  private static final double DEFAULT_GB = 14;
  private static final double DEVIATION = 0.02;

  private static final TransformerConfig CONFIG =
      TransformerConfig.builder()
          .nLayers(22)
          .dModel(2048)
          .nHeads(32)
          .nKeyValueHeads(4)
          .dHead(64)
          .dMlp(5632)
          .dVocab(32000)
          .nCtx(2048)
          .norm(Norm.rmsNorm(1e-5))
          .rotary(RotaryPositions.halves(64))
          .activation("silu")
          .gatedMlp(true)
          .biases(Biases.NONE)
          .build();

  private LargeModel() {}

  /** Prints seconds and peaks of each step. */
  public static void main(String[] arguments) throws IOException {
    int batch = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 2;
    int seq = arguments.length > 1 ? Integer.parseInt(arguments[1]) : 32;
    Precision precision =
        arguments.length > 2 ? Precision.valueOf(arguments[2]) : Precision.BFLOAT16;
    boolean limited = arguments.length > 3;
    double allowed = limited ? Double.parseDouble(arguments[3]) : DEFAULT_GB;
    Benchmarks.setThreads();
    Machine.current().print(System.out);
    try (Model model = model(precision);
        PatchableModel patchable = PatchableModel.of(model, PatchableModelOptions.defaults())) {
      System.out.printf(
          "%s, %s, %d x %d tokens, %d threads: %.2f GB after loading%n",
          patchable.graph(), precision, batch, seq, Threads.get(), gigabytes("VmRSS"));
      if (limited) {
        attribute(patchable, batch, seq, allowed);
      } else {
        patch(patchable, batch, seq);
      }
    }
    double peak = gigabytes("VmHWM");
    System.out.printf("peak of the process: %.2f GB of %.0f%n", peak, allowed);
    if (peak > allowed) {
      throw new IllegalStateException(
          String.format(Locale.ROOT, "expected at most %.0f GB", allowed));
    }
  }

  private static void patch(PatchableModel model, int batch, int seq) throws IOException {
    Random random = new Random(1);
    long[][] clean = tokens(random, batch, seq);
    long[][] corrupt = tokens(random, batch, seq);
    step("plain forward", () -> model.logits(clean, PatchContext.NONE)[0][0]);
    try (SourceActivations patch = model.sourceAblations(corrupt, BatchAblation.RESAMPLE)) {
      double[] values = random.doubles(model.graph().maskSize()).toArray();
      PatchContext dense = PatchContext.of(patch, Masks.of(model.graph(), values));
      step("patched forward, random masks", () -> model.logits(clean, dense)[0][0]);
      PatchContext zero = PatchContext.of(patch, Masks.uniform(model.graph(), 0));
      AnswerLoss loss = loss(random, batch);
      step("attribution: gradient of all masks at 0", () -> gradient(model, clean, zero, loss));
    }
  }

  private static void attribute(PatchableModel model, int batch, int seq, double allowed)
      throws IOException {
    Random random = new Random(1);
    long[][] clean = tokens(random, batch, seq);
    long[][] corrupt = tokens(random, batch, seq);
    AnswerLoss loss = loss(random, batch);
    long[][] one = {clean[0]};
    step("plain forward of one prompt", () -> model.logits(one, PatchContext.NONE)[0][0]);
    // Idle buffers count for the process, not for the limit.
    long limit = (long) ((allowed - gigabytes("VmRSS")) * 1e9) - Workspaces.limit();
    System.out.printf(
        "limit of attribution: %.2f GB; the outputs of all sources would take %.2f GB%n",
        limit / 1e9, 2.0 * model.graph().srcs().size() * batch * seq * CONFIG.dModel() / 1e9);
    step(
        "attribution within that",
        () -> {
          try (PointerScope scope = new PointerScope()) {
            EdgeAttribution attribution =
                EdgeAttribution.resampled(
                        ModelInput.ofPrompts(clean, model.device()),
                        ModelInput.ofPrompts(corrupt, model.device()),
                        loss)
                    .withMemoryLimit(limit);
            return model.maskGradient(attribution).gradient().norm().item_double();
          }
        });
  }

  private static AnswerLoss loss(Random random, int batch) {
    return AnswerLoss.of(
        GradFunction.LOGIT,
        AnswerFunction.AVG_DIFF,
        tokens(random, batch, 1),
        tokens(random, batch, 1));
  }

  /** The norm of the gradient. */
  private static double gradient(
      PatchableModel model, long[][] tokens, PatchContext context, AnswerLoss loss) {
    try (PointerScope scope = new PointerScope()) {
      return model.maskGradient(tokens, context, loss).gradient().norm().item_double();
    }
  }

  private static void step(String name, DoubleSupplier work) throws IOException {
    long start = System.nanoTime();
    double value = work.getAsDouble();
    if (!Double.isFinite(value)) {
      throw new IllegalStateException(name + ": expected a finite number, got " + value);
    }
    System.out.printf(
        "%-40s %6.1f s, peak so far %.2f GB%n",
        name, (System.nanoTime() - start) / 1e9, gigabytes("VmHWM"));
  }

  private static double gigabytes(String field) throws IOException {
    return PeakMemory.kilobytes(field) * 1024 / 1e9;
  }

  private static long[][] tokens(Random random, int batch, int seq) {
    long[][] tokens = new long[batch][seq];
    for (long[] row : tokens) {
      for (int i = 0; i < seq; i++) {
        row[i] = random.nextInt(CONFIG.dVocab());
      }
    }
    return tokens;
  }

  private static Model model(Precision precision) {
    try (PointerScope scope = new PointerScope()) {
      torch.manual_seed(1);
      long d = CONFIG.dModel();
      long heads = (long) CONFIG.nHeads() * CONFIG.dHead();
      long keysAndValues = 2L * CONFIG.nKeyValueHeads() * CONFIG.dHead();
      Map<String, Tensor> weights = new LinkedHashMap<>();
      weights.put("embed.W_E", random(precision, CONFIG.dVocab(), d));
      for (int block = 0; block < CONFIG.nLayers(); block++) {
        String prefix = "blocks." + block + ".";
        weights.put(prefix + "ln1.w", ones(precision, d));
        weights.put(prefix + "attn.W_QKV", random(precision, d, heads + keysAndValues));
        weights.put(prefix + "attn.W_O", random(precision, heads, d));
        weights.put(prefix + "ln2.w", ones(precision, d));
        weights.put(prefix + "mlp.W_in", random(precision, d, CONFIG.dMlp()));
        weights.put(prefix + "mlp.W_gate", random(precision, d, CONFIG.dMlp()));
        weights.put(prefix + "mlp.W_out", random(precision, CONFIG.dMlp(), d));
      }
      weights.put("ln_final.w", ones(precision, d));
      weights.put("unembed.W_U", random(precision, CONFIG.dVocab(), d));
      return Model.of(CONFIG, weights);
    }
  }

  private static Tensor random(Precision precision, long... shape) {
    try (Tensor wide = torch.randn(shape);
        Scalar deviation = new Scalar(DEVIATION);
        Tensor scaled = wide.mul_(deviation)) {
      return scaled.to(precision.scalarType());
    }
  }

  private static Tensor ones(Precision precision, long size) {
    try (Tensor wide = torch.ones(size)) {
      return wide.to(precision.scalarType());
    }
  }
}
