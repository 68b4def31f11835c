package org.autocircuit.benchmark;

import java.util.Map;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;

/**
 * A plain pass in the presets' operations, without hooks or sources. Keeps the model's own plain
 * pass, by which everything is divided, honest.
 */
final class RawForward implements AutoCloseable {

  private final TransformerConfig config;
  private final Map<String, Tensor> weights;

  /** Takes the tensors over. */
  RawForward(TransformerConfig config, Map<String, Tensor> weights) {
    this.config = config;
    this.weights = weights;
  }

  /** Logits of the last position {@code [batch, d_vocab]}. */
  Tensor logits(Tensor tokens) {
    long batch = tokens.size(0);
    long seq = tokens.size(1);
    Tensor resid =
        torch
            .embedding(weight("embed.W_E"), tokens)
            .add(weight("pos_embed.W_pos").narrow(0, 0, seq))
            .view(batch * seq, config.dModel());
    Tensor future = torch.full(new long[] {seq, seq}, new Scalar(Float.NEGATIVE_INFINITY)).triu(1);
    for (int block = 0; block < config.nLayers(); block++) {
      String prefix = "blocks." + block + ".";
      resid = resid.add(attention(prefix + "attn.", norm(prefix + "ln1", resid), batch, future));
      resid = resid.add(mlp(prefix + "mlp.", norm(prefix + "ln2", resid)));
    }
    Tensor last = resid.view(batch, seq, config.dModel()).select(1, seq - 1);
    return torch.linear(norm("ln_final", last), weight("unembed.W_U"));
  }

  private Tensor attention(String prefix, Tensor x, long batch, Tensor future) {
    long heads = config.nHeads();
    int dHead = config.dHead();
    Tensor qkv =
        torch
            .addmm(weight(prefix + "b_QKV"), x, weight(prefix + "W_QKV"))
            .view(batch, -1, 3 * heads, dHead)
            .transpose(1, 2); // [batch, 3 heads, seq, d_head]
    Tensor q = qkv.narrow(1, 0, heads).mul(new Scalar(1 / Math.sqrt(dHead)));
    Tensor k = qkv.narrow(1, heads, heads);
    Tensor v = qkv.narrow(1, 2 * heads, heads);
    Tensor pattern = torch.softmax(q.matmul(k.transpose(-2, -1)).add(future), -1);
    Tensor z = pattern.matmul(v).transpose(1, 2).reshape(-1, heads * dHead);
    return torch.addmm(weight(prefix + "b_O"), z, weight(prefix + "W_O"));
  }

  private Tensor mlp(String prefix, Tensor x) {
    Tensor hidden = torch.addmm(weight(prefix + "b_in"), x, weight(prefix + "W_in"));
    return torch.addmm(
        weight(prefix + "b_out"), torch.gelu(hidden, "tanh"), weight(prefix + "W_out"));
  }

  private Tensor norm(String prefix, Tensor x) {
    return torch.layer_norm(
        x,
        new long[] {config.dModel()},
        new TensorOptional(weight(prefix + ".w")),
        new TensorOptional(weight(prefix + ".b")),
        config.eps(),
        false);
  }

  private Tensor weight(String name) {
    return weights.get(name);
  }

  @Override
  public void close() {
    weights.values().forEach(Tensor::close);
  }
}
