// The heart by itself, against loops over every number.
#include "autocircuit/patch/patch_wrapper.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <optional>

#include "autocircuit/patch/masked_sum.h"
#include "autocircuit/patch/source_buffer.h"
#include "devices.h"

#include "check.h"

namespace autocircuit::test {

namespace {

constexpr int64_t kBatch = 2;
constexpr int64_t kSeq = 3;
constexpr int64_t kRows = 4;
constexpr int64_t kSources = 5;
constexpr int64_t kModel = 6;

struct MaskShape {
  bool batched;
  bool has_seq;
  bool has_rows;

  std::vector<int64_t> sizes() const {
    std::vector<int64_t> sizes;
    if (batched) {
      sizes.push_back(kBatch);
    }
    if (has_seq) {
      sizes.push_back(kSeq);
    }
    if (has_rows) {
      sizes.push_back(kRows);
    }
    sizes.push_back(kSources);
    return sizes;
  }

  int64_t index(int64_t b, int64_t s, int64_t r, int64_t i) const {
    int64_t index = batched ? b : 0;
    index = has_seq ? index * kSeq + s : index;
    index = has_rows ? index * kRows + r : index;
    return index * kSources + i;
  }
};

std::vector<MaskShape> mask_shapes() {
  std::vector<MaskShape> shapes;
  for (const bool batched : {false, true}) {
    for (const bool has_seq : {false, true}) {
      for (const bool has_rows : {false, true}) {
        shapes.push_back({batched, has_seq, has_rows});
      }
    }
  }
  return shapes;
}

double weight(MaskFn fn, double mask, double uniform) {
  switch (fn) {
    case MaskFn::kNone:
      return mask;
    case MaskFn::kSigmoid:
      return 1 / (1 + std::exp(-mask));
    case MaskFn::kHardConcrete: {
      const double u = std::clamp(uniform, 1e-4, 1 - 1e-4);
      const double logit = (std::log(u) - std::log(1 - u) + mask) * 1.5;
      return std::clamp(1.2 / (1 + std::exp(-logit)) - 0.1, 0.0, 1.0);
    }
  }
  return NAN;
}

struct Inputs {
  explicit Inputs(const MaskShape& shape) {
    at::manual_seed(11);
    arg0 = at::randn({kBatch, kSeq, kModel}, at::kDouble);
    src_acts = at::randn({kSources, kBatch, kSeq, kModel}, at::kDouble);
    curr = at::randn({kSources, kBatch, kSeq, kModel}, at::kDouble);
    mask = at::randn(shape.sizes(), at::kDouble);
    MaskShape drawn = shape;
    drawn.batched = true;
    uniforms = at::rand(drawn.sizes(), at::kDouble);
    uniforms.view({-1})[0] = 0; // before the margins
    uniforms.view({-1})[1] = 1;
  }

  at::Tensor arg0;
  at::Tensor src_acts;
  at::Tensor curr;
  at::Tensor mask;
  at::Tensor uniforms;
};

// One number after another.
at::Tensor by_loop(const Inputs& in, const MaskShape& shape, MaskFn fn) {
  MaskShape drawn = shape;
  drawn.batched = true;
  const int64_t rows = shape.has_rows ? kRows : 1;
  at::Tensor out = at::empty({kBatch, kSeq, rows, kModel}, at::kDouble);
  const auto* mask = in.mask.const_data_ptr<double>();
  const auto* uniforms = in.uniforms.const_data_ptr<double>();
  const auto acts = in.src_acts.accessor<double, 4>();
  const auto curr = in.curr.accessor<double, 4>();
  const auto arg0 = in.arg0.accessor<double, 3>();
  auto result = out.accessor<double, 4>();
  for (int64_t b = 0; b < kBatch; b++) {
    for (int64_t s = 0; s < kSeq; s++) {
      for (int64_t r = 0; r < rows; r++) {
        for (int64_t d = 0; d < kModel; d++) {
          double sum = arg0[b][s][d];
          for (int64_t i = 0; i < kSources; i++) {
            const double f = weight(
                fn,
                mask[shape.index(b, s, r, i)],
                uniforms[drawn.index(b, s, r, i)]);
            sum += f * (acts[i][b][s][d] - curr[i][b][s][d]);
          }
          result[b][s][r][d] = sum;
        }
      }
    }
  }
  return shape.has_rows ? out : out.squeeze(2);
}

MaskTransform transform(MaskFn fn, const at::Tensor& uniforms) {
  return {
      .fn = fn,
      .dropout = 0,
      .noise = {.seed = 0, .step = 0, .uniforms = uniforms}};
}

at::Tensor mixed(
    const Inputs& in,
    const MaskShape& shape,
    const MaskTransform& transform) {
  return interpolate(
      in.arg0,
      in.src_acts,
      in.curr,
      in.mask,
      shape.has_rows,
      shape.has_seq,
      transform);
}

constexpr MaskFn kMaskFns[] = {
    MaskFn::kNone,
    MaskFn::kSigmoid,
    MaskFn::kHardConcrete};

} // namespace

TEST(interpolate_is_what_a_loop_computes) {
  for (const MaskShape& shape : mask_shapes()) {
    for (const MaskFn fn : kMaskFns) {
      const Inputs in(shape);
      CHECK_CLOSE(
          mixed(in, shape, transform(fn, in.uniforms)),
          by_loop(in, shape, fn),
          1e-12,
          1e-12);
    }
  }
}

TEST(interpolate_takes_an_input_for_each_row) {
  for (const MaskShape& shape : mask_shapes()) {
    if (!shape.has_rows) {
      continue;
    }
    Inputs in(shape);
    const at::Tensor shared = by_loop(in, shape, MaskFn::kNone);
    const at::Tensor each =
        at::randn({kBatch, kSeq, kRows, kModel}, at::kDouble);
    const at::Tensor expected = shared - in.arg0.unsqueeze(2) + each;
    in.arg0 = each;
    CHECK_CLOSE(
        mixed(in, shape, transform(MaskFn::kNone, {})), expected, 1e-12, 1e-12);
  }
}

TEST(interpolate_is_differentiable_in_every_tensor) {
  for (const MaskShape& shape : mask_shapes()) {
    for (const MaskFn fn : kMaskFns) {
      Inputs in(shape);
      const MaskTransform t = transform(fn, in.uniforms);
      const at::Tensor weights = at::randn_like(by_loop(in, shape, fn));
      std::vector<at::Tensor*> tensors{
          &in.arg0, &in.src_acts, &in.curr, &in.mask};
      std::vector<at::Tensor> leaves;
      for (at::Tensor* tensor : tensors) {
        leaves.push_back(tensor->requires_grad_(true));
      }
      const auto grads = torch::autograd::grad(
          {(mixed(in, shape, t) * weights).sum()}, leaves);
      const at::NoGradGuard no_grad;
      for (size_t i = 0; i < tensors.size(); i++) {
        const at::Tensor value = *tensors[i];
        const at::Tensor step = at::randn_like(value) * 1e-6;
        *tensors[i] = value + step;
        const at::Tensor up = (mixed(in, shape, t) * weights).sum();
        *tensors[i] = value - step;
        const at::Tensor down = (mixed(in, shape, t) * weights).sum();
        *tensors[i] = value;
        CHECK_CLOSE((up - down) / 2, (grads[i] * step).sum(), 1e-5, 1e-10);
      }
    }
  }
}

TEST(interpolate_names_what_does_not_fit) {
  const MaskShape shape{false, true, true};
  const Inputs good(shape);
  const MaskTransform plain = transform(MaskFn::kNone, {});
  Inputs bad = good;
  bad.mask = good.mask.narrow(0, 0, 2);
  CHECK_THROWS(mixed(bad, shape, plain), "[seq]");
  bad = good;
  bad.mask = good.mask.unsqueeze(0); // a batch of another size
  CHECK_THROWS(mixed(bad, shape, plain), "expected a mask");
  bad = good;
  bad.curr = good.curr.narrow(3, 0, 2);
  CHECK_THROWS(mixed(bad, shape, plain), "[n, batch, seq, d_model]");
  bad = good;
  bad.arg0 = good.arg0.narrow(1, 0, 2);
  CHECK_THROWS(mixed(bad, shape, plain), "expected arg0");
  CHECK_THROWS(
      mixed(good, shape, transform(MaskFn::kHardConcrete, good.mask)),
      "expected uniforms");
  CHECK_THROWS(mixed(good, shape, transform(static_cast<MaskFn>(7), {})), "7");
  MaskTransform dropout = plain;
  dropout.dropout = 1;
  CHECK_THROWS(mixed(good, shape, dropout), "dropout");
}

TEST(record_source_writes_its_rows_only) {
  at::manual_seed(2);
  at::Tensor outputs = at::zeros({kSources, kBatch, kSeq, kModel}, at::kDouble);
  const at::Tensor single = at::randn({kBatch, kSeq, kModel}, at::kDouble);
  const at::Tensor heads = at::randn({kBatch, kSeq, 3, kModel}, at::kDouble);
  record_source(single, outputs, 4);
  record_source(heads, outputs, 1);
  CHECK_CLOSE(outputs[4], single, 0, 0);
  CHECK_EQUAL(outputs[0].count_nonzero().item<int64_t>(), 0);
  for (int64_t h = 0; h < 3; h++) {
    CHECK_CLOSE(outputs[1 + h], heads.select(2, h), 0, 0);
  }
  CHECK_THROWS(record_source(heads, outputs, 3), "from row 3");
  CHECK_THROWS(record_source(single, outputs, -1), "from row -1");
  CHECK_THROWS(record_source(single.narrow(0, 0, 1), outputs, 0), "that fits");
}

// The forwards' own arithmetic, with shared buffers, against plain products.
TEST(masked_sums_are_batched_products) {
  for (const int64_t groups : {1, 2, 6, 12}) {
    at::manual_seed(groups);
    const int64_t rows = 7;
    const int64_t n = 5;
    const at::Tensor delta = at::randn({n, 4, 3, 8}, at::kDouble);
    const at::Tensor values = at::randn({groups, rows, n}, at::kDouble);
    const auto grouped = [&](const at::Tensor& x) {
      return x.reshape({x.size(0), groups, -1}).transpose(0, 1);
    };
    for (const int64_t base_rows : {int64_t{1}, rows}) {
      const at::Tensor base = at::randn({base_rows, 4, 3, 8}, at::kDouble);
      const at::Tensor expected = base +
          at::bmm(values, grouped(delta))
              .transpose(0, 1)
              .reshape({rows, 4, 3, 8});
      CHECK_CLOSE(masked_sum(base, values, delta), expected, 1e-12, 1e-12);
    }
    const at::Tensor grad = at::randn({rows, 4, 3, 8}, at::kDouble);
    CHECK_CLOSE(
        masked_sum_grad_values(grad, delta, groups),
        at::bmm(grouped(grad), grouped(delta).transpose(1, 2)),
        1e-12,
        1e-12);
    at::Tensor grad_delta = at::ones_like(delta);
    add_masked_sum_grad_delta(grad_delta, grad, values);
    CHECK_CLOSE(
        grad_delta,
        1 +
            at::bmm(values.transpose(1, 2), grouped(grad))
                .transpose(0, 1)
                .reshape({n, 4, 3, 8}),
        1e-12,
        1e-12);
  }
}

// More columns than one tile has, the last tile being narrower.
TEST(masked_sums_in_tiles) {
  at::manual_seed(4);
  const at::Tensor delta = at::randn({3, 10, 10, 129}, at::kDouble);
  const at::Tensor values = at::randn({1, 2, 3}, at::kDouble);
  const at::Tensor base = at::randn({1, 10, 10, 129}, at::kDouble);
  CHECK_CLOSE(
      masked_sum(base, values, delta),
      base + at::mm(values[0], delta.view({3, -1})).view({2, 10, 10, 129}),
      1e-12,
      1e-12);
  at::Tensor grad_delta = at::zeros_like(delta);
  const at::Tensor grad = at::randn({2, 10, 10, 129}, at::kDouble);
  add_masked_sum_grad_delta(grad_delta, grad, values);
  CHECK_CLOSE(
      grad_delta,
      at::mm(values[0].t(), grad.view({2, -1})).view_as(delta),
      1e-12,
      1e-12);
}

// A buffer that two destinations read, the first between two records.
TEST(source_buffer_gradients_are_those_of_plain_operations) {
  at::manual_seed(6);
  const auto leaf = [](at::IntArrayRef shape) {
    return at::randn(shape, at::kDouble).requires_grad_(true);
  };
  const at::Tensor patch = leaf({3, 2, 2, 4});
  const at::Tensor first = leaf({1, 2, 2, 4});
  const at::Tensor base = leaf({1, 2, 2, 4});
  const at::Tensor early = leaf({1, 2, 1});
  const at::Tensor late = leaf({4, 1, 2}); // for each token; skips source 0
  const auto run = [&](const auto& record, const auto& mix) {
    record(0, first);
    const at::Tensor x = mix(base, early, 0);
    record(1, x.tanh());
    return mix(base + x.sum(0, true), late, 1).square().sum();
  };

  SourceBuffer buffer(patch);
  const at::Tensor shared = run(
      [&](int64_t start, const at::Tensor& out) { buffer.record(start, out); },
      [&](const at::Tensor& b, const at::Tensor& v, int64_t start) {
        return buffer.interpolate(b, v, start);
      });
  std::vector<at::Tensor> deltas(3);
  const at::Tensor plain = run(
      [&](int64_t start, const at::Tensor& out) {
        for (int64_t i = 0; i < out.size(0); i++) {
          deltas[static_cast<size_t>(start + i)] = patch[start + i] - out[i];
        }
      },
      [&](const at::Tensor& b, const at::Tensor& v, int64_t start) {
        std::vector<at::Tensor> used(
            deltas.begin() + start, deltas.begin() + start + v.size(2));
        const at::Tensor delta =
            at::stack(used).reshape({v.size(2), v.size(0), -1}).transpose(0, 1);
        return b +
            at::bmm(v, delta).transpose(0, 1).reshape({v.size(1), 2, 2, 4});
      });
  CHECK_CLOSE(shared, plain, 1e-12, 1e-12);
  const std::vector<at::Tensor> leaves{patch, first, base, early, late};
  const auto expected = torch::autograd::grad({plain}, leaves);
  const auto actual = torch::autograd::grad({shared}, leaves);
  for (size_t i = 0; i < leaves.size(); i++) {
    CHECK_CLOSE(actual[i], expected[i], 1e-12, 1e-12);
  }
}

TEST(cuda_interpolate) {
  const at::Device cuda = cuda_or_skip();
  for (const MaskShape& shape : mask_shapes()) {
    for (const MaskFn fn : kMaskFns) {
      Inputs in(shape);
      const at::Tensor expected = by_loop(in, shape, fn);
      for (at::Tensor* tensor :
           {&in.arg0, &in.src_acts, &in.curr, &in.mask, &in.uniforms}) {
        *tensor = tensor->to(cuda);
      }
      CHECK_CLOSE(
          mixed(in, shape, transform(fn, in.uniforms)).cpu(),
          expected,
          1e-10,
          1e-10);
    }
  }
}

TEST(cuda_record_source) {
  const at::Device cuda = cuda_or_skip();
  const at::Tensor output = at::randn({kBatch, kSeq, 2, kModel});
  at::Tensor outputs = at::zeros({3, kBatch, kSeq, kModel}, cuda);
  record_source(output.to(cuda), outputs, 1);
  CHECK_CLOSE(outputs[2].cpu(), output.select(2, 1).contiguous(), 0, 0);
}

TEST(cuda_masked_sums) {
  const at::Device cuda = cuda_or_skip();
  for (const int64_t groups : {1, 2, 6}) {
    const at::Tensor delta = at::randn({5, 2, 3, 8}, at::kDouble);
    const at::Tensor values = at::randn({groups, 4, 5}, at::kDouble);
    const at::Tensor base = at::randn({1, 2, 3, 8}, at::kDouble);
    const at::Tensor grad = at::randn({4, 2, 3, 8}, at::kDouble);
    CHECK_CLOSE(
        masked_sum(base.to(cuda), values.to(cuda), delta.to(cuda)).cpu(),
        masked_sum(base, values, delta),
        1e-10,
        1e-10);
    CHECK_CLOSE(
        masked_sum_grad_values(grad.to(cuda), delta.to(cuda), groups).cpu(),
        masked_sum_grad_values(grad, delta, groups),
        1e-10,
        1e-10);
    at::Tensor on_cpu = at::zeros_like(delta);
    at::Tensor on_cuda = at::zeros_like(delta).to(cuda);
    add_masked_sum_grad_delta(on_cpu, grad, values);
    add_masked_sum_grad_delta(on_cuda, grad.to(cuda), values.to(cuda));
    CHECK_CLOSE(on_cuda.cpu(), on_cpu, 1e-10, 1e-10);
  }
}

} // namespace autocircuit::test
