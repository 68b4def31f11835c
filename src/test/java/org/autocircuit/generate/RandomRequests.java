package org.autocircuit.generate;

import java.util.SplittableRandom;
import org.autocircuit.PatchableModel;
import org.autocircuit.RandomModels;
import org.autocircuit.model.TransformerConfig;
import org.autocircuit.patch.BatchAblation;
import org.autocircuit.patch.Masks;
import org.autocircuit.patch.SourceActivations;

/** Requests of all that a model can be asked for, drawn at random. */
final class RandomRequests implements AutoCloseable {

  /** Read by some requests. */
  private static final String READ = "blocks.1.hook_resid_post";

  private static final int POSITIONS = 5;
  private static final int MOST_TOKENS = 24;

  private final PatchableModel model;
  private final TransformerConfig config;
  private final SplittableRandom random;
  private final SourceActivations mean;
  private final SourceActivations positions;

  RandomRequests(PatchableModel model, long seed) {
    this.model = model;
    config = (TransformerConfig) model.config();
    random = new SplittableRandom(seed);
    mean =
        model.sourceAblations(
            RandomModels.prompts(config, 3, POSITIONS, 1), BatchAblation.BATCH_ALL_TOK_MEAN);
    positions =
        model.sourceAblations(
            RandomModels.prompts(config, 1, POSITIONS, 2), BatchAblation.RESAMPLE);
  }

  GenerationRequest next() {
    int longest = Math.min(200, config.nCtx() - MOST_TOKENS);
    int length =
        random.nextInt(5) == 0 ? random.nextInt(1, longest) : random.nextInt(1, longest / 5 + 2);
    GenerationRequest request =
        GenerationRequest.of(tokens(length))
            .withPatch(patch(length))
            .withSampling(Sampling.RANDOM.withSeed(random.nextInt()))
            .withStop(Stop.after(random.nextInt(1, MOST_TOKENS)))
            .withLogProbs(config.dVocab())
            .withReads(random.nextBoolean() ? new String[] {READ} : new String[0]);
    for (int i = random.nextInt(4); i > 1; i--) {
      request = request.withSteering(steering());
    }
    float bound = (float) random.nextDouble(4);
    return random.nextInt(4) == 0
        ? request.withGuard("blocks.0.hook_mlp_out", values -> values[0] > bound)
        : request;
  }

  private long[] tokens(int length) {
    return random.longs(length, 0, config.dVocab()).toArray();
  }

  private Masks masks() {
    return Masks.of(model.graph(), RandomModels.masks(model.graph(), random.nextInt(1000)));
  }

  private GenerationPatch patch(int length) {
    GenerationPatch patch =
        switch (random.nextInt(7)) {
          case 0 -> GenerationPatch.NONE;
          case 1 -> GenerationPatch.zero(masks());
          case 2 -> GenerationPatch.constant(mean, masks());
          case 3 -> GenerationPatch.positions(positions, masks(), Beyond.HOLD_LAST);
          case 4 -> GenerationPatch.resample(tokens(length), masks(), Donor.FREE);
          default -> GenerationPatch.resample(tokens(length), masks(), Donor.FOLLOWS);
        };
    if (patch.isPatched() && random.nextInt(3) == 0) {
      patch = patch.switchedTo(masks(), random.nextInt(length + MOST_TOKENS));
    }
    return patch.isPatched() && random.nextBoolean() ? patch.at(span()) : patch;
  }

  private Steering steering() {
    float[] vector = new float[config.dModel()];
    for (int i = 0; i < vector.length; i++) {
      vector[i] = (float) random.nextDouble(-1, 1);
    }
    String hook = random.nextBoolean() ? "blocks.0.hook_resid_mid" : "blocks.1.hook_attn_out";
    return Steering.of(hook, vector).at(span());
  }

  private Span span() {
    return switch (random.nextInt(4)) {
      case 0 -> Span.PROMPT;
      case 1 -> Span.ANSWER;
      case 2 -> Span.from(random.nextInt(20));
      default -> Span.until(random.nextInt(1, 20));
    };
  }

  @Override
  public void close() {
    mean.close();
    positions.close();
  }
}
