package org.autocircuit;

import java.util.Arrays;
import java.util.Map;
import org.autocircuit.internal.TensorArrays;
import org.autocircuit.model.TransformerConfig;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Gemma 2 as its formulas are written down: RMS norms before and behind attention and MLP, grouped
 * queries, rotary positions, windows in every other block, soft caps. Raw operations in 64-bit
 * floats, nothing shared with the library but the weights.
 */
final class PlainGemma2 {

  /** Of rotary positions. */
  private static final double BASE = 10_000;

  private final TransformerConfig config;
  private final Map<String, Tensor> weights;
  private final double eps;
  private final double scale;
  private final double scoreCap;
  private final int window;

  PlainGemma2(TransformerConfig config, Map<String, Tensor> weights) {
    this.config = config;
    this.weights = weights;
    eps = config.norm().eps();
    scale = config.attentionScores().scale().orElseThrow();
    scoreCap = config.attentionScores().softCap();
    window = config.attentionScores().window().orElseThrow();
  }

  /**
   * Logits of all positions {@code [batch, seq, d_vocab]}.
   *
   * @param keyValueInputs how many inputs keys and values have: one for each of them, or for each
   *     query head
   */
  Tensor logits(Tensor tokens, int keyValueInputs, PlainGpt2.Visitor visitor) {
    Tensor x = torch.embedding(weights.get("embed.W_E"), tokens).mul(number(config.embedScale()));
    for (int block = 0; block < config.nLayers(); block++) {
      String b = "blocks." + block + ".";
      x = visitor.visit(b + "hook_resid_pre", x);
      Tensor heads = attention(b, block, x, keyValueInputs, visitor);
      x = visitor.visit(b + "hook_resid_mid", x.add(heads.sum(2)));
      Tensor read = norm(b + "ln2", visitor.visit(b + "hook_mlp_in", x));
      Tensor gate = geluTanh(torch.matmul(read, weights.get(b + "mlp.W_gate")));
      Tensor active = gate.mul(torch.matmul(read, weights.get(b + "mlp.W_in")));
      Tensor mlp = norm(b + "ln2_post", torch.matmul(active, weights.get(b + "mlp.W_out")));
      x = visitor.visit(b + "hook_resid_post", x.add(visitor.visit(b + "hook_mlp_out", mlp)));
    }
    Tensor logits = torch.matmul(norm("ln_final", x), weights.get("unembed.W_U").t());
    return capped(logits.add(weights.get("unembed.b_U")), config.logitSoftCap());
  }

  /**
   * Returns what each head adds {@code [batch, seq, heads, d_model]}; the norm behind is of their
   * sum.
   */
  private Tensor attention(
      String b, int block, Tensor x, int keyValueInputs, PlainGpt2.Visitor visitor) {
    int heads = config.nHeads();
    Tensor readQ = visitor.visit(b + "hook_q_input", repeated(x, heads));
    Tensor readK = visitor.visit(b + "hook_k_input", repeated(x, keyValueInputs));
    Tensor readV = visitor.visit(b + "hook_v_input", repeated(x, keyValueInputs));
    long seq = x.size(1);
    Tensor hidden = hidden(seq, block % 2 == 0 ? window : Math.toIntExact(seq));
    Tensor[] added = new Tensor[heads];
    for (int head = 0; head < heads; head++) {
      int group = head / (heads / config.nKeyValueHeads());
      int input = keyValueInputs == heads ? head : group;
      int keys = heads + group;
      int values = heads + config.nKeyValueHeads() + group;
      Tensor q = turned(projected(b, readQ.select(2, head), head));
      Tensor k = turned(projected(b, readK.select(2, input), keys));
      Tensor v = projected(b, readV.select(2, input), values);
      Tensor scores = capped(torch.matmul(q, k.transpose(1, 2)).mul(number(scale)), scoreCap);
      Tensor z = torch.matmul(scores.add(hidden).softmax(-1), v);
      long width = config.dHead();
      added[head] = torch.matmul(z, weights.get(b + "attn.W_O").narrow(0, head * width, width));
    }
    Tensor all = torch.stack(new TensorVector(added), 2);
    Tensor factor = rms(all.sum(2)).unsqueeze(2);
    Tensor normed = all.mul(factor).mul(weights.get(b + "ln1_post.w").add(number(1)));
    return visitor.visit(b + "attn.hook_result", normed);
  }

  private static Tensor repeated(Tensor x, int times) {
    return x.unsqueeze(2).expand(x.size(0), x.size(1), times, x.size(2));
  }

  /** Columns of a head: first of all queries, then of keys, then of values. */
  private Tensor projected(String b, Tensor x, int part) {
    long width = config.dHead();
    return torch.matmul(
        norm(b + "ln1", x), weights.get(b + "attn.W_QKV").narrow(1, part * width, width));
  }

  /** Pairs (i, i + half) turn by position times frequency i. */
  private Tensor turned(Tensor x) {
    int half = config.dHead() / 2;
    int seq = Math.toIntExact(x.size(1));
    double[] cos = new double[seq * half];
    double[] sin = new double[seq * half];
    for (int at = 0; at < cos.length; at++) {
      int position = at / half;
      double angle = position * Math.pow(BASE, -(at % half) / (double) half);
      cos[at] = Math.cos(angle);
      sin[at] = Math.sin(angle);
    }
    Tensor c = TensorArrays.of(cos, ScalarType.Double, "cpu", seq, half);
    Tensor s = TensorArrays.of(sin, ScalarType.Double, "cpu", seq, half);
    Tensor first = x.narrow(2, 0, half);
    Tensor second = x.narrow(2, half, half);
    return torch.cat(
        new TensorVector(first.mul(c).sub(second.mul(s)), first.mul(s).add(second.mul(c))), 2);
  }

  /** Minus infinity where a query does not see a key. */
  private static Tensor hidden(long seq, int window) {
    int n = Math.toIntExact(seq);
    double[] values = new double[n * n];
    Arrays.setAll(
        values,
        at -> {
          int back = at / n - at % n;
          return back >= 0 && back < window ? 0 : Double.NEGATIVE_INFINITY;
        });
    return TensorArrays.of(values, ScalarType.Double, "cpu", n, n);
  }

  private Tensor norm(String name, Tensor x) {
    return x.mul(rms(x)).mul(weights.get(name + ".w").add(number(1)));
  }

  private Tensor rms(Tensor x) {
    return x.mul(x).mean(new long[] {-1}, true, new ScalarTypeOptional()).add(number(eps)).rsqrt();
  }

  private static Tensor geluTanh(Tensor x) {
    Tensor cubic = x.add(x.mul(x).mul(x).mul(number(0.044715)));
    return x.mul(cubic.mul(number(Math.sqrt(2 / Math.PI))).tanh().add(number(1))).mul(number(0.5));
  }

  private static Tensor capped(Tensor x, double cap) {
    return x.div(number(cap)).tanh().mul(number(cap));
  }

  private static Scalar number(double value) {
    return new Scalar(value);
  }
}
