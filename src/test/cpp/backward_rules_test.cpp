// Gradients under rules, against a transformer of plain operations in which
// detach() writes the rules down.
#include "autocircuit/model/backward_rules.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <map>

#include "autocircuit/attribution/edge_attribution.h"
#include "autocircuit/attribution/point_gradient.h"
#include "autocircuit/engine/source_ablations.h"
#include "autocircuit/model/precision.h"
#include "kinds.h"

#include "check.h"
#include "devices.h"

namespace autocircuit::test {

namespace {

const BackwardRules kGim{
    .frozen_norms = true,
    .softmax_temperature = 2,
    .queries_and_keys = 0.25,
    .values = 0.5,
    .gated_mlps = 0.5};

/// A shape with learned positions, and what its description says in numbers.
struct PlainShape {
  Shape shape;
  double norm_offset = 0;
  double embed_scale = 1;
  double attention_scale = 0.5; // d_head is 4
  double attention_cap = 0;
  double logit_cap = 0;
};

std::vector<std::pair<std::string, PlainShape>> plain_shapes() {
  std::vector<std::pair<std::string, PlainShape>> shapes;
  const auto add = [&](const char* name, PlainShape s, auto change) {
    change(s.shape);
    shapes.emplace_back(name, std::move(s));
  };
  PlainShape rms{.shape = llama()};
  rms.shape.learned = true;
  rms.shape.more = "act_fn=silu\n";
  PlainShape capped = rms;
  capped.shape.post_norms = true;
  capped.shape.more =
      "act_fn=gelu_new\nnorm_weight_offset=1\nembed_scale=2.5\n"
      "attn_scale=0.3\nattn_soft_cap=1.5\nlogit_soft_cap=3\n";
  capped.norm_offset = 1;
  capped.embed_scale = 2.5;
  capped.attention_scale = 0.3;
  capped.attention_cap = 1.5;
  capped.logit_cap = 3;
  add("gpt2", {}, [](Shape&) {});
  add("no norm weights", {}, [](Shape& s) { s.norm_weights = false; });
  add("attention only", {}, [](Shape& s) { s.attn_only = true; });
  add("parallel", {}, [](Shape& s) { s.parallel = true; });
  add("rms, gated, grouped", rms, [](Shape&) {});
  add("the same with biases", rms, [](Shape& s) { s.biases = true; });
  add("ungrouped", rms, [](Shape& s) { s.ungrouped = true; });
  add("qk norms", rms, [](Shape& s) { s.qk_norm = true; });
  add("post-norms and soft caps", capped, [](Shape&) {});
  add("the same, ungrouped, qk norms", capped, [](Shape& s) {
    s.qk_norm = true;
    s.ungrouped = true;
  });
  return shapes;
}

// x, whose gradient goes back times a factor.
at::Tensor scaled(const at::Tensor& x, double factor) {
  return x.detach() + (x - x.detach()) * factor;
}

/// Offers each destination's input, and their gradients.
class PlainTransformer {
 public:
  PlainTransformer(
      const PlainShape& plain,
      const Model& model,
      BackwardRules rules)
      : plain_(plain), s_(plain.shape), rules_(rules) {
    const Weights& weights = model.weights();
    for (size_t i = 0; i < weights.names().size(); i++) {
      weights_[weights.names()[i]] = weights.tensors()[i].detach();
    }
  }

  /// Logits of the last position.
  at::Tensor operator()(const at::Tensor& tokens) {
    at::Tensor x = at::index(w("embed.W_E"), {tokens}) * plain_.embed_scale +
        w("pos_embed.W_pos").slice(0, 0, tokens.size(1));
    for (int64_t n = 0; n < s_.layers; n++) {
      const std::string b = "blocks." + std::to_string(n) + ".";
      const at::Tensor attended = attention(b, x);
      const at::Tensor mid = x + attended;
      x = s_.attn_only  ? mid
          : s_.parallel ? mid + mlp(b, x)
                        : mid + mlp(b, mid);
    }
    x = input("blocks." + std::to_string(s_.layers - 1) + ".hook_resid_post", x)
            .select(1, -1);
    const at::Tensor logits =
        at::matmul(norm("ln_final", x), w("unembed.W_U").t());
    return plain_.logit_cap > 0
        ? at::tanh(logits / plain_.logit_cap) * plain_.logit_cap
        : logits;
  }

  /// The gradient of the masks for differences [n_srcs, batch, seq, d_model].
  at::Tensor gradient(
      const at::Tensor& loss,
      const PatchableModel& model,
      const at::Tensor& differences) {
    std::vector<at::Tensor> parts;
    for (const PatchWrapper& wrapper : model.wrappers()) {
      if (wrapper.is_dest()) {
        const at::Tensor x = inputs_.at(wrapper.module);
        at::Tensor g = torch::autograd::grad(
            {loss},
            {x},
            {},
            /*retain_graph=*/true)[0];
        g = g.dim() == 3 ? g.unsqueeze(2) : g; // [batch, seq, rows, d_model]
        parts.push_back(
            at::einsum(
                "bsrd,nbsd->rn",
                {g, differences.slice(0, wrapper.in_start, wrapper.in_stop)})
                .flatten());
      }
    }
    return at::cat(parts);
  }

 private:
  at::Tensor w(const std::string& name) const {
    const auto found = weights_.find(name);
    return found == weights_.end() ? at::Tensor() : found->second;
  }
  at::Tensor plus(const at::Tensor& x, const std::string& bias) const {
    return w(bias).defined() ? x + w(bias) : x;
  }

  // The input of a destination, as if it was nobody else's.
  at::Tensor input(
      const std::string& module,
      const at::Tensor& x,
      int64_t rows = 0) {
    at::Tensor own = rows > 0 ? x.unsqueeze(2).repeat({1, 1, rows, 1}) : x;
    const at::Tensor nothing =
        at::zeros(own.sizes(), own.options()).requires_grad_(true);
    inputs_[module] = nothing;
    return own + nothing;
  }

  at::Tensor norm(const std::string& name, const at::Tensor& x) const {
    const at::Tensor c = s_.rms ? x : x - x.mean(-1, true);
    at::Tensor divisor = (c.square().mean(-1, true) + 1e-5).sqrt();
    divisor = rules_.frozen_norms ? divisor.detach() : divisor;
    const at::Tensor y = c / divisor;
    return w(name + ".w").defined()
        ? plus(y * (w(name + ".w") + plain_.norm_offset), name + ".b")
        : y;
  }

  at::Tensor softmax(const at::Tensor& scores) const {
    const at::Tensor at = scores.detach();
    const at::Tensor other =
        at::softmax(at / rules_.softmax_temperature + (scores - at), -1);
    return at::softmax(at, -1) + (other - other.detach());
  }

  // Queries, keys or values of all query heads.
  at::Tensor project(
      const std::string& b,
      const at::Tensor& x,
      int64_t first,
      int64_t heads) const {
    const at::Tensor head = at::arange(s_.heads);
    const auto shared = [&](int64_t n) {
      return (head * n / s_.heads).floor().to(at::kLong);
    };
    const auto weights = [&](const at::Tensor& all, int64_t dim) {
      return all.narrow(dim, first, heads).index_select(dim, shared(heads));
    };
    const at::Tensor y = at::einsum(
        "bshd,dhe->bshe",
        {x.index_select(2, shared(x.size(2))),
         weights(w(b + "attn.W_QKV").view({s_.d_model, -1, s_.d_head}), 1)});
    return s_.biases ? y + weights(w(b + "attn.b_QKV").view({-1, s_.d_head}), 0)
                     : y;
  }

  at::Tensor attention(const std::string& b, const at::Tensor& x) {
    const int64_t kv = s_.kv_heads > 0 ? s_.kv_heads : s_.heads;
    const int64_t rows = s_.ungrouped ? s_.heads : kv;
    const auto normed = [&](const char* module, int64_t n) {
      return norm(b + "ln1", input(b + module, x, n));
    };
    at::Tensor q = project(b, normed("hook_q_input", s_.heads), 0, s_.heads);
    at::Tensor k = project(b, normed("hook_k_input", rows), s_.heads, kv);
    at::Tensor v = project(b, normed("hook_v_input", rows), s_.heads + kv, kv);
    if (s_.qk_norm) {
      q = norm(b + "attn.q_norm", q);
      k = norm(b + "attn.k_norm", k);
    }
    q = scaled(q, rules_.queries_and_keys);
    k = scaled(k, rules_.queries_and_keys);
    v = scaled(v, rules_.values);
    at::Tensor scores =
        at::einsum("bqhe,bkhe->bhqk", {q, k}) * plain_.attention_scale;
    if (plain_.attention_cap > 0) {
      scores = at::tanh(scores / plain_.attention_cap) * plain_.attention_cap;
    }
    const at::Tensor later =
        at::ones({x.size(1), x.size(1)}, at::kBool).triu(1);
    const at::Tensor pattern = softmax(scores.masked_fill(later, -1e9));
    const at::Tensor z = at::einsum("bhqk,bkhe->bqhe", {pattern, v}).flatten(2);
    const at::Tensor out =
        plus(at::matmul(z, w(b + "attn.W_O")), b + "attn.b_O");
    return s_.post_norms ? norm(b + "ln1_post", out) : out;
  }

  at::Tensor mlp(const std::string& b, const at::Tensor& resid) {
    const at::Tensor x = norm(b + "ln2", input(b + "hook_mlp_in", resid));
    const auto activate = [&](const at::Tensor& y) {
      return s_.more.find("silu") != std::string::npos ? at::silu(y)
                                                       : at::gelu(y, "tanh");
    };
    at::Tensor y = at::matmul(x, w(b + "mlp.W_in"));
    if (s_.gated) {
      const at::Tensor gate = at::matmul(x, w(b + "mlp.W_gate"));
      y = plus(
          activate(scaled(gate, rules_.gated_mlps)) *
              scaled(y, rules_.gated_mlps),
          b + "mlp.b_in");
    } else {
      y = activate(plus(y, b + "mlp.b_in"));
    }
    y = plus(at::matmul(y, w(b + "mlp.W_out")), b + "mlp.b_out");
    return s_.post_norms ? norm(b + "ln2_post", y) : y;
  }

  PlainShape plain_;
  const Shape& s_;
  BackwardRules rules_;
  std::map<std::string, at::Tensor> weights_;
  std::map<std::string, at::Tensor> inputs_;
};

struct Case {
  explicit Case(const Shape& s, at::ScalarType type = at::kDouble)
      : k(s, 0, type) {
    const int64_t batch = k.clean.size(0);
    request.clean.value = k.clean;
    request.corrupt.value = k.corrupt;
    request.loss = {
        .grad_function = GradFunction::kLogprob,
        .answers = to_device(at::randint(11, {batch, 2}, at::kLong)),
        .wrong_answers = to_device(at::randint(11, {batch, 2}, at::kLong))};
    const at::NoGradGuard no_grad;
    differences = k.context.patch_src_outs -
        source_ablations(k.model, request.clean, BatchAblation::kResample);
  }

  at::Tensor expected(const PlainShape& plain, BackwardRules rules) const {
    PlainTransformer transformer(plain, k.model.model(), rules);
    const at::AutoGradMode record(true);
    const at::Tensor loss = answer_loss(
        transformer(k.clean),
        request.loss.grad_function,
        request.loss.answer_function,
        request.loss.answers,
        request.loss.wrong_answers);
    return transformer.gradient(loss, k.model, differences);
  }

  MaskGradient actual(BackwardRules rules, AttributionSplit split) const {
    EdgeAttribution under = request;
    under.clean.rules = rules;
    return edge_attribution(k.model, under, split);
  }

  MaskGradient at_point(BackwardRules rules) const {
    PointAttribution point{
        .clean = request.clean,
        .differences = differences,
        .loss = request.loss};
    point.clean.rules = rules;
    return point_gradient(k.model, point);
  }

  Kind k;
  EdgeAttribution request;
  at::Tensor differences;
};

std::vector<BackwardRules> rules_one_by_one() {
  return {
      {},
      {.frozen_norms = true},
      {.softmax_temperature = 2},
      {.softmax_temperature = 3.5, .queries_and_keys = 0.7},
      {.queries_and_keys = 0.25},
      {.values = 0.5},
      {.gated_mlps = 0.5},
      kGim};
}

} // namespace

TEST(gradients_under_rules_are_those_of_plain_operations) {
  cpu_only("the plain transformer");
  for (const auto& [name, plain] : plain_shapes()) {
    const Case of(plain.shape);
    for (const BackwardRules& rules : rules_one_by_one()) {
      const at::Tensor expected = of.expected(plain, rules);
      for (const bool compact : {false, true}) {
        CHECK_CLOSE(of.actual(rules, {2, compact}).grad, expected, 1e-9, 1e-11);
      }
      CHECK_CLOSE(of.at_point(rules).grad, expected, 1e-9, 1e-11);
    }
  }
}

// The kernels of fp32 know the rules, too.
TEST(kernels_go_back_under_rules) {
  cpu_only("kernels");
  for (const auto& [name, plain] : plain_shapes()) {
    const Case of(plain.shape, at::kFloat);
    const at::Tensor expected = of.expected(plain, kGim);
    const double size = expected.abs().max().item<double>();
    for (const bool compact : {false, true}) {
      CHECK_CLOSE(
          of.actual(kGim, {3, compact}).grad, expected, 1e-4, 1e-5 * size);
    }
  }
}

TEST(rules_change_no_value) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    for_each_kind([&](const Shape& s) {
      const Case of(s, type);
      for (const bool compact : {false, true}) {
        const MaskGradient plain = of.actual({}, {3, compact});
        const MaskGradient under = of.actual(kGim, {3, compact});
        CHECK(at::equal(under.logits, plain.logits));
        CHECK(at::equal(under.loss, plain.loss));
        CHECK(!at::allclose(under.grad, plain.grad));
      }
    });
  }
}

// Gradients go through sources, too, if masks are not 0.
TEST(rules_of_the_derivative_are_no_rules) {
  for_each_kind([&](const Shape& s) {
    const Case of(s);
    const BackwardRules derivative{
        .frozen_norms = false,
        .softmax_temperature = 1,
        .queries_and_keys = 1,
        .values = 1,
        .gated_mlps = 1};
    CHECK(at::equal(
        of.actual(derivative, {3, false}).grad,
        of.actual({}, {3, false}).grad));
    CHECK(at::equal(of.at_point(derivative).grad, of.at_point({}).grad));
  });
}

} // namespace autocircuit::test
