// Steps of a pass, against what bounds them.
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>

#include "autocircuit/engine/masked_rows.h"
#include "autocircuit/engine/planned_rows.h"
#include "autocircuit/engine/source_buffer.h"
#include "autocircuit/ops/head_product.h"
#include "lines.h"

namespace autocircuit::benchmark {

namespace {

constexpr double kPlannedShare = 0.03;

/// Last block's q, k and v with random terms left.
class PlannedStep {
 public:
  PlannedStep(const Size& size, const at::Tensor& delta) {
    const int64_t masks = size.heads * size.n_in();
    plan_.n_slots = size.n_in();
    plan_.slots.resize(static_cast<size_t>(size.n_in()));
    std::iota(plan_.slots.begin(), plan_.slots.end(), 0);
    const at::Tensor left = at::rand({3 * masks}) < kPlannedShare;
    std::vector<bool> read(plan_.slots.size());
    for (size_t module = 0; module < wrappers_.size(); module++) {
      PatchWrapper& w = wrappers_[module];
      w.in_start = 0;
      w.in_stop = size.n_in();
      w.rows = size.heads;
      w.mask_offset = static_cast<int64_t>(module) * masks;
      DestPlan& dest = plans_[module];
      for (int64_t row = 0; row < size.heads; row++) {
        for (int64_t i = 0; i < size.n_in(); i++) {
          if (left.const_data_ptr<
                  bool>()[w.mask_offset + row * size.n_in() + i]) {
            dest.sources.push_back(i);
            read[static_cast<size_t>(i)] = true;
          }
        }
        dest.rows.push_back(row);
        dest.starts.push_back(static_cast<int64_t>(dest.sources.size()));
      }
      n_terms += static_cast<int64_t>(dest.sources.size());
      dests_.push_back({&w, &dest});
    }
    n_read = std::count(read.begin(), read.end(), true);
    rows_.emplace(plan_, at::rand({3 * masks}), delta);
  }
  PlannedStep(const PlannedStep&) = delete;
  PlannedStep& operator=(const PlannedStep&) = delete;

  void run(const at::Tensor& base) const {
    (*rows_)(dests_, base, /*patched=*/{}, /*norm=*/nullptr);
  }

  int64_t n_terms = 0;
  int64_t n_read = 0; // sources of any term

 private:
  Plan plan_;
  std::array<PatchWrapper, 3> wrappers_;
  std::array<DestPlan, 3> plans_;
  std::vector<PlannedDest> dests_;
  std::optional<PlannedRows> rows_;
};

// Weights and results of products are kept from run to run, as a model and the
// buffer of a pass are.
std::vector<Line> machine_lines(const Size& size, at::Device device) {
  std::vector<Line> lines;
  const auto add_product = [&](const char* name,
                               int64_t m,
                               int64_t k,
                               int64_t n) {
    const at::Tensor a = at::randn({m, k}, device);
    const at::Tensor b = at::randn({k, n}, device);
    const at::Tensor c = at::zeros({m, n}, device);
    lines.push_back(
        {.name = name,
         .flops = 2 * product_of({m, k, n}),
         .floats = product_of({m, k}) + product_of({k, n}) + product_of({m, n}),
         .run = [=] {
           at::Tensor out = c;
           at::mm_out(out, a, b);
         }});
  };
  add_product(kSquare, size.square, size.square, size.square);
  const at::Tensor from = at::ones({size.copied}, device);
  const at::Tensor to = at::zeros({size.copied}, device);
  lines.push_back(
      {.name = kCopy, .floats = product_of({2, size.copied}), .run = [=] {
         if (to.is_cpu()) {
           std::memcpy(
               to.mutable_data_ptr(), from.const_data_ptr(), from.nbytes());
         } else {
           to.copy_(from);
         }
       }});
  add_product(
      "sgemm, destination",
      3 * size.heads,
      size.n_in(),
      size.tokens() * size.d_model);
  return lines;
}

void add_destination_lines(
    const Size& size,
    at::Device device,
    std::vector<Line>& lines) {
  const int64_t rows = 3 * size.heads;
  const int64_t width = size.tokens() * size.d_model;
  const at::Tensor base =
      at::randn({size.batch, size.seq, size.d_model}, device);
  const at::Tensor delta =
      at::randn({size.batch, size.seq, size.n_in(), size.d_model}, device);
  const at::Tensor values = at::rand({1, 1, rows, size.n_in()}, device);
  const Norm norm(
      Weights(
          {"ln.w", "ln.b"},
          {at::ones({size.d_model}, device),
           at::zeros({size.d_model}, device)}),
      "ln",
      size.d_model,
      NormShape());
  const double flops = 2 * product_of({rows, size.n_in(), width});
  const double floats = product_of({size.n_in() + rows + 1, width});
  lines.push_back(
      {.name = "destination, dense",
       .flops = flops,
       .floats = floats,
       .run = [=] { masked_rows({base}, values, delta, /*norm=*/nullptr); }});
  lines.push_back(
      {.name = "destination, dense, with norm",
       .flops = flops,
       .floats = floats,
       .run = [=] { masked_rows({base}, values, delta, &norm); }});
  if (!device.is_cpu()) {
    return;
  }
  const auto planned = std::make_shared<PlannedStep>(size, delta);
  lines.push_back(
      {.name = "destination, planned",
       .flops = 2 * product_of({planned->n_terms, width}),
       .floats = product_of({planned->n_read + rows + 1, width}),
       .run = [=] { planned->run(base); }});
}

void add_projection_lines(
    const Size& size,
    at::Device device,
    std::vector<Line>& lines) {
  const int64_t rows = 3 * size.heads;
  const int64_t width = rows * size.d_head();
  const at::Tensor x =
      at::randn({size.batch, size.seq, rows, size.d_model}, device);
  const at::Tensor w = at::randn({size.d_model, width}, device)
                           .unflatten(1, at::IntArrayRef{rows, size.d_head()})
                           .transpose(0, 1);
  const at::Tensor out =
      at::zeros({size.batch, size.seq, rows, size.d_head()}, device);
  const double flops = 2 * product_of({size.tokens(), size.d_model, width});
  const double floats = product_of({size.tokens(), rows, size.d_model}) +
      product_of({size.d_model, width}) + product_of({size.tokens(), width});
  lines.push_back(
      {.name = "projection", .flops = flops, .floats = floats, .run = [=] {
         head_product_out(out, x, w);
       }});
  lines.push_back(
      {.name = "sgemm, projection",
       .flops = flops,
       .floats = floats,
       .run = [=] {
         for (int64_t row = 0; row < rows; row++) {
           at::Tensor y = out.select(2, row).flatten(0, 1);
           at::mm_out(y, x.select(2, row).flatten(0, 1), w[row]);
         }
       }});
}

void add_source_lines(
    const Size& size,
    at::Device device,
    std::vector<Line>& lines) {
  const int64_t heads = size.heads;
  const int64_t width = size.tokens() * size.d_model;
  const at::Tensor z =
      at::randn({size.batch, size.seq, heads, size.d_head()}, device);
  const at::Tensor weights =
      at::randn({heads, size.d_head(), size.d_model}, device);
  // As in a pass: differences token by token, activations source by source.
  const at::Tensor delta =
      at::zeros({size.batch, size.seq, size.n_srcs(), size.d_model}, device)
          .narrow(2, size.n_in(), heads);
  const at::Tensor patch =
      at::randn({size.n_srcs(), size.batch, size.seq, size.d_model}, device)
          .permute({1, 2, 0, 3})
          .narrow(2, size.n_in(), heads);
  const double products = 2 * product_of({heads, size.d_head(), width});
  const double differences = 2 * product_of({heads, width});
  const double in = product_of({heads, size.d_head()}) *
      static_cast<double>(size.tokens() + size.d_model);
  const double out = product_of({heads, width});
  const double sum = product_of({width});
  lines.push_back(
      {.name = "source write",
       .flops = products + differences,
       .floats = in + 2 * out + sum,
       .run = [=] {
         head_product_out(delta, z, weights);
         sum_rows(delta, patch);
       }});
  lines.push_back(
      {.name = "source write, products",
       .flops = products,
       .floats = in + out,
       .run = [=] { head_product_out(delta, z, weights); }});
  lines.push_back(
      {.name = "source write, differences",
       .flops = differences,
       .floats = 3 * out + sum,
       .run = [=] { sum_rows(delta, patch); }});
}

} // namespace

std::vector<Line> step_lines(const Size& size, at::Device device) {
  std::vector<Line> lines = machine_lines(size, device);
  add_destination_lines(size, device, lines);
  add_projection_lines(size, device, lines);
  add_source_lines(size, device, lines);
  return lines;
}

} // namespace autocircuit::benchmark
