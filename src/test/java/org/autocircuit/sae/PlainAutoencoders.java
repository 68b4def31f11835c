package org.autocircuit.sae;

import java.util.Arrays;
import java.util.Map;
import org.autocircuit.PlainGpt2;
import org.autocircuit.model.AutoencoderConfig;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * Autoencoders on the MLPs of a {@link PlainGpt2}, as their formulas are written down: every latent
 * by itself, nothing shared with the library but the weights.
 */
final class PlainAutoencoders implements PlainGpt2.Visitor {

  private static final String MLP_OUT = ".hook_mlp_out";

  private final AutoencoderConfig config;
  private final Map<String, Tensor> weights;
  private final PlainGpt2.Visitor nodes;

  /**
   * Puts autoencoders on MLPs.
   *
   * @param nodes visits what is left, latents and errors
   */
  PlainAutoencoders(
      AutoencoderConfig config, Map<String, Tensor> weights, PlainGpt2.Visitor nodes) {
    this.config = config;
    this.weights = weights;
    this.nodes = nodes;
  }

  @Override
  public Tensor visit(String hook, Tensor value) {
    if (!hook.endsWith(MLP_OUT) || !config.has(Integer.parseInt(hook.split("\\.", -1)[1]))) {
      return nodes.visit(hook, value);
    }
    long seq = value.size(1);
    Tensor bias = weights.get(hook + ".bias");
    Tensor latents =
        einsum("bsd,sld->bsl", value.sub(bias), positioned(hook + ".encode_weight", seq))
            .add(positioned(hook + ".latent_bias", seq))
            .relu();
    Tensor outs = einsum("bsl,sdl->bsld", latents, positioned(hook + ".decode_weight", seq));
    Tensor reconstruction = nodes.visit(hook + ".latent_outs", outs).sum(2).add(bias);
    return config.errorNodes()
        ? reconstruction.add(nodes.visit(hook + ".error", value.sub(reconstruction)))
        : reconstruction;
  }

  /** A weight of each position. */
  private Tensor positioned(String name, long seq) {
    Tensor weight = weights.get(name);
    if (config.seqLen().isPresent()) {
      return weight;
    }
    Tensor[] same = new Tensor[Math.toIntExact(seq)];
    Arrays.fill(same, weight);
    return torch.stack(new TensorVector(same));
  }

  private static Tensor einsum(String equation, Tensor a, Tensor b) {
    return torch.einsum(equation, new TensorVector(a, b));
  }
}
