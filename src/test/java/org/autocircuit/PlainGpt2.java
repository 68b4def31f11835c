package org.autocircuit;

import java.util.Map;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * GPT-2 once more, as its formulas are written down: raw operations, every head by itself, nothing
 * shared with the library but the weights. What it computes is what the library is compared with.
 */
public final class PlainGpt2 {

  /** Sees, and may replace, the value at each hook point. */
  public interface Visitor {
    Tensor visit(String hook, Tensor value);
  }

  private final TransformerConfig config;
  private final Map<String, Tensor> weights;

  public PlainGpt2(TransformerConfig config, Map<String, Tensor> weights) {
    this.config = config;
    this.weights = weights;
  }

  public Tensor logits(Tensor tokens) {
    return logits(tokens, (hook, value) -> value);
  }

  /** Logits of all positions {@code [batch, seq, d_vocab]}. */
  public Tensor logits(Tensor tokens, Visitor visitor) {
    long batch = tokens.size(0);
    long seq = tokens.size(1);
    long[] stream = {batch, seq, config.dModel()};
    Tensor embed =
        weights.get("embed.W_E").index_select(0, tokens.reshape(batch * seq)).reshape(stream);
    Tensor pos = weights.get("pos_embed.W_pos").narrow(0, 0, seq).unsqueeze(0).expand(stream);
    Tensor resid = visitor.visit("hook_embed", embed).add(visitor.visit("hook_pos_embed", pos));
    for (int block = 0; block < config.nLayers(); block++) {
      resid = block("blocks." + block + ".", resid, visitor);
    }
    Tensor normal = norm("ln_final", resid);
    Tensor logits = torch.matmul(normal, weights.get("unembed.W_U").t());
    Tensor bias = weights.get("unembed.b_U");
    return bias == null ? logits : logits.add(bias);
  }

  private Tensor block(String b, Tensor before, Visitor visitor) {
    Tensor resid = visitor.visit(b + "hook_resid_pre", before);
    Tensor attn = attention(b, resid, visitor).add(weights.get(b + "attn.b_O"));
    Tensor mid =
        visitor.visit(b + "hook_resid_mid", resid.add(visitor.visit(b + "hook_attn_out", attn)));
    Tensor mlpIn = norm(b + "ln2", visitor.visit(b + "hook_mlp_in", mid));
    Tensor pre = torch.matmul(mlpIn, weights.get(b + "mlp.W_in")).add(weights.get(b + "mlp.b_in"));
    Tensor out =
        torch.matmul(geluNew(pre), weights.get(b + "mlp.W_out")).add(weights.get(b + "mlp.b_out"));
    return visitor.visit(b + "hook_resid_post", mid.add(visitor.visit(b + "hook_mlp_out", out)));
  }

  /** The sum of the heads' results, without the output bias. */
  private Tensor attention(String b, Tensor resid, Visitor visitor) {
    long[] shape = {resid.size(0), resid.size(1), config.nHeads(), config.dModel()};
    Tensor input = visitor.visit(b + "hook_attn_in", resid.unsqueeze(2).expand(shape));
    Tensor q = projection(b, 0, visitor.visit(b + "hook_q_input", input));
    Tensor k = projection(b, 1, visitor.visit(b + "hook_k_input", input));
    Tensor v = projection(b, 2, visitor.visit(b + "hook_v_input", input));
    Tensor scores = einsum("bqhe,bkhe->bhqk", q, k).div(new Scalar(Math.sqrt(config.dHead())));
    long seq = resid.size(1);
    Tensor future = torch.full(new long[] {seq, seq}, new Scalar(Double.NEGATIVE_INFINITY)).triu(1);
    Tensor pattern = torch.softmax(scores.add(future.to(scores.scalar_type())), -1);
    Tensor z = einsum("bhqk,bkhe->bqhe", pattern, v);
    Tensor outputs =
        weights.get(b + "attn.W_O").reshape(config.nHeads(), config.dHead(), config.dModel());
    Tensor result = einsum("bqhe,hed->bqhd", z, outputs);
    return visitor.visit(b + "attn.hook_result", result).sum(2);
  }

  /** Part 0, 1, 2 of W_QKV are the queries, keys and values of all heads, one after another. */
  private Tensor projection(String b, int part, Tensor input) {
    long width = (long) config.nHeads() * config.dHead();
    Tensor w =
        weights
            .get(b + "attn.W_QKV")
            .narrow(1, part * width, width)
            .reshape(config.dModel(), config.nHeads(), config.dHead());
    Tensor bias =
        weights
            .get(b + "attn.b_QKV")
            .narrow(0, part * width, width)
            .reshape(config.nHeads(), config.dHead());
    return einsum("bshd,dhe->bshe", norm(b + "ln1", input), w).add(bias);
  }

  private Tensor norm(String name, Tensor x) {
    Tensor centred = x.sub(meanOfLast(x));
    Tensor variance = meanOfLast(centred.mul(centred));
    Tensor normal = centred.div(variance.add(new Scalar(config.eps())).sqrt());
    return normal.mul(weights.get(name + ".w")).add(weights.get(name + ".b"));
  }

  private static Tensor geluNew(Tensor x) {
    Tensor cubic = x.add(x.mul(x).mul(x).mul(new Scalar(0.044715)));
    Tensor inner = cubic.mul(new Scalar(Math.sqrt(2 / Math.PI))).tanh();
    return x.mul(inner.add(new Scalar(1.0))).mul(new Scalar(0.5));
  }

  private static Tensor meanOfLast(Tensor x) {
    return x.mean(new long[] {-1}, true, new ScalarTypeOptional());
  }

  private static Tensor einsum(String equation, Tensor a, Tensor b) {
    return torch.einsum(equation, new TensorVector(a, b));
  }
}
