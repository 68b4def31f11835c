// The heart by itself, against loops over every number.
#include "autocircuit/patch/patch_wrapper.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

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
  cpu_only("held against loops on the host");
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
  cpu_only("held against loops on the host");
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
  cpu_only("held against loops on the host");
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

// The mask is fp32, gradients have the types of what they belong to.
TEST(interpolate_in_16_bits) {
  cpu_only("held against loops on the host");
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const double tolerance = type == at::kHalf ? 4e-3 : 3e-2;
    for (const MaskShape& shape : mask_shapes()) {
      for (const MaskFn fn : kMaskFns) {
        Inputs wide(shape);
        Inputs narrow(shape);
        for (auto [w, n] :
             {std::pair{&wide.arg0, &narrow.arg0},
              std::pair{&wide.src_acts, &narrow.src_acts},
              std::pair{&wide.curr, &narrow.curr}}) {
          *n = w->to(type).requires_grad_(true);
          *w = n->detach().to(at::kDouble).requires_grad_(true);
        }
        for (auto [w, n] :
             {std::pair{&wide.mask, &narrow.mask},
              std::pair{&wide.uniforms, &narrow.uniforms}}) {
          *n = w->to(at::kFloat);
          *w = n->to(at::kDouble);
        }
        narrow.mask.requires_grad_(true);
        wide.mask.requires_grad_(true);
        const auto run = [&](const Inputs& in) {
          return mixed(in, shape, transform(fn, in.uniforms));
        };
        const at::Tensor actual = run(narrow);
        const at::Tensor expected = run(wide);
        CHECK_EQUAL(actual.scalar_type(), type);
        CHECK_CLOSE(actual.to(at::kDouble), expected, tolerance, tolerance);
        const auto grads = torch::autograd::grad(
            {actual.to(at::kFloat).square().sum()},
            {narrow.arg0, narrow.src_acts, narrow.curr, narrow.mask});
        const auto wide_grads = torch::autograd::grad(
            {expected.square().sum()},
            {wide.arg0, wide.src_acts, wide.curr, wide.mask});
        for (size_t i = 0; i < grads.size(); i++) {
          const double largest = wide_grads[i].abs().max().item<double>();
          CHECK_EQUAL(
              grads[i].scalar_type(), i < 3 ? type : at::ScalarType::Float);
          CHECK_CLOSE(
              grads[i].to(at::kDouble),
              wide_grads[i],
              0,
              tolerance * (largest + 1e-6));
        }
      }
    }
  }
}

TEST(interpolate_names_what_does_not_fit) {
  cpu_only("held against loops on the host");
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
  cpu_only("held against loops on the host");
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

TEST(interpolate_is_that_of_the_cpu) {
  const at::Device device = other_device_or_skip();
  for (const MaskShape& shape : mask_shapes()) {
    for (const MaskFn fn : kMaskFns) {
      Inputs in(shape);
      const at::Tensor expected = by_loop(in, shape, fn);
      for (at::Tensor* tensor :
           {&in.arg0, &in.src_acts, &in.curr, &in.mask, &in.uniforms}) {
        *tensor = tensor->to(device);
      }
      CHECK_CLOSE(
          mixed(in, shape, transform(fn, in.uniforms)).cpu(),
          expected,
          1e-10,
          1e-10);
    }
  }
}

TEST(record_source_is_that_of_the_cpu) {
  const at::Device device = other_device_or_skip();
  const at::Tensor output = at::randn({kBatch, kSeq, 2, kModel});
  at::Tensor outputs = at::zeros({3, kBatch, kSeq, kModel}, device);
  record_source(output.to(device), outputs, 1);
  CHECK_CLOSE(outputs[2].cpu(), output.select(2, 1).contiguous(), 0, 0);
}

} // namespace autocircuit::test
