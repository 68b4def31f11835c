// The three things that edge patching adds to a forward pass, against what the
// machine can do, on one thread: native-build/run-engine-benchmark.sh.
//
// sgemm, square: LibTorch's product of two big square matrices, the GEMM rate
// that "% GEMM" refers to.
// sgemm, destination: the product [rows, n] x [n, tokens * d_model], which is
// the arithmetic of a destination step and no more.
// copy: memcpy of a block that no cache holds, the bandwidth, read and written,
// that "% copy" refers to.
// destination, dense: q, k and v rows of the last block; to each the residual
// stream and the differences of all sources before it, weighted by its masks.
// destination, dense, with norm: the same, and the rows are normed on the way.
// destination, planned: the same rows with terms for 3 % of the edges, as a
// plan of few edges has them. projection: these rows, each by its head's
// columns of W_QKV. sgemm, projection: the same by LibTorch's products, one for
// each row. source write: z of all heads times W_O into the rows of the buffer,
// their sum, and patch minus row in place; its products alone, and its
// differences alone.
//
// Bytes are those that must be moved at least: every input read once and every
// output written once. So the larger of the two percentages says how close a
// line comes to what bounds it; it may exceed 100 where all fits a cache, or
// where our kernel is faster than the square product. Lines take turns, and a
// percentage is the median of those of single rounds, so that a busy machine
// moves it less than times; these are processor time.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include "autocircuit/bridge/bridge.h"
#include "autocircuit/bridge/threads.h"
#include "autocircuit/engine/masked_rows.h"
#include "autocircuit/engine/planned_rows.h"
#include "autocircuit/engine/source_buffer.h"
#include "autocircuit/engine/workspace_pool.h"
#include "autocircuit/model/head_product.h"

namespace autocircuit::benchmark {

namespace {

struct Size {
  const char* name;
  int64_t layers;
  int64_t d_model;
  int64_t heads;
  int64_t batch;
  int64_t seq;
  int64_t square; // of the big product
  int64_t copied; // floats

  int64_t d_head() const {
    return d_model / heads;
  }
  int64_t tokens() const {
    return batch * seq;
  }
  int64_t n_srcs() const {
    return 1 + layers * (heads + 1);
  }
  /// Sources before the last block.
  int64_t n_in() const {
    return n_srcs() - heads - 1;
  }
};

constexpr Size kGpt2Small{"gpt2-small", 12, 768, 12, 8, 16, 1024, 64 << 20};
constexpr Size kFourLayer{"4-layer", 4, 256, 8, 8, 16, 1024, 64 << 20};
constexpr Size kTiny{"tiny", 2, 16, 4, 2, 3, 16, 1 << 10};

constexpr double kPlannedShare = 0.03;
constexpr double kSecondsOfALine = 5e-3; // in one round, at least

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) +
      1e-9 * static_cast<double>(now.tv_nsec);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

struct Line {
  const char* name;
  double flops;
  double floats; // read or written at least
  std::function<void()> run;
  int repetitions = 1;
  std::vector<double> seconds = {}; // of one run, by round

  double bytes() const {
    return floats * sizeof(float);
  }
  double time() const {
    return median(seconds);
  }
  void measure() {
    const double start = processor_seconds();
    for (int i = 0; i < repetitions; i++) {
      run();
    }
    seconds.push_back((processor_seconds() - start) / repetitions);
  }
};

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

double product_of(std::initializer_list<int64_t> factors) {
  return std::accumulate(
      factors.begin(), factors.end(), 1.0, [](double all, int64_t factor) {
        return all * static_cast<double>(factor);
      });
}

// Weights and results of products are kept from run to run, as a model and the
// buffer of a pass are.
std::vector<Line> machine_lines(const Size& size) {
  std::vector<Line> lines;
  const auto add_product = [&](const char* name,
                               int64_t m,
                               int64_t k,
                               int64_t n) {
    const at::Tensor a = at::randn({m, k});
    const at::Tensor b = at::randn({k, n});
    const at::Tensor c = at::zeros({m, n});
    lines.push_back(
        {.name = name,
         .flops = 2 * product_of({m, k, n}),
         .floats = product_of({m, k}) + product_of({k, n}) + product_of({m, n}),
         .run = [=] {
           at::Tensor out = c;
           at::mm_out(out, a, b);
         }});
  };
  add_product("sgemm, square", size.square, size.square, size.square);
  const at::Tensor from = at::ones({size.copied});
  const at::Tensor to = at::zeros({size.copied});
  lines.push_back(
      {.name = "copy",
       .flops = 0,
       .floats = product_of({2, size.copied}),
       .run = [=] {
         std::memcpy(
             to.mutable_data_ptr(), from.const_data_ptr(), from.nbytes());
       }});
  add_product(
      "sgemm, destination",
      3 * size.heads,
      size.n_in(),
      size.tokens() * size.d_model);
  return lines;
}

void add_destination_lines(const Size& size, std::vector<Line>& lines) {
  const int64_t rows = 3 * size.heads;
  const int64_t width = size.tokens() * size.d_model;
  const at::Tensor base = at::randn({size.batch, size.seq, size.d_model});
  const at::Tensor delta =
      at::randn({size.batch, size.seq, size.n_in(), size.d_model});
  const at::Tensor values = at::rand({1, 1, rows, size.n_in()});
  const Norm norm(
      Weights(
          {"ln.w", "ln.b"},
          {at::ones({size.d_model}), at::zeros({size.d_model})}),
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
  const auto planned = std::make_shared<PlannedStep>(size, delta);
  lines.push_back(
      {.name = "destination, planned",
       .flops = 2 * product_of({planned->n_terms, width}),
       .floats = product_of({planned->n_read + rows + 1, width}),
       .run = [=] { planned->run(base); }});
}

void add_projection_lines(const Size& size, std::vector<Line>& lines) {
  const int64_t rows = 3 * size.heads;
  const int64_t width = rows * size.d_head();
  const at::Tensor x = at::randn({size.batch, size.seq, rows, size.d_model});
  const at::Tensor w = at::randn({size.d_model, width})
                           .unflatten(1, at::IntArrayRef{rows, size.d_head()})
                           .transpose(0, 1);
  const at::Tensor out = at::zeros({size.batch, size.seq, rows, size.d_head()});
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

void add_source_lines(const Size& size, std::vector<Line>& lines) {
  const int64_t heads = size.heads;
  const int64_t width = size.tokens() * size.d_model;
  const at::Tensor z = at::randn({size.batch, size.seq, heads, size.d_head()});
  const at::Tensor weights = at::randn({heads, size.d_head(), size.d_model});
  // As in a pass: differences token by token, activations source by source.
  const at::Tensor delta =
      at::zeros({size.batch, size.seq, size.n_srcs(), size.d_model})
          .narrow(2, size.n_in(), heads);
  const at::Tensor patch =
      at::randn({size.n_srcs(), size.batch, size.seq, size.d_model})
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

/// Median over rounds, in per cent, of f(round).
double percent(size_t rounds, const std::function<double(size_t)>& f) {
  std::vector<double> values;
  for (size_t i = 0; i < rounds; i++) {
    values.push_back(100 * f(i));
  }
  return median(values);
}

void print(const std::vector<Line>& lines) {
  const char* const header = "%-30s %9s %9s %7s %7s %7s  %s\n";
  std::printf(
      header, "", "ms", "GFLOP/s", "% GEMM", "GB/s", "% copy", "bound by");
  const Line& square = lines[0];
  const Line& copy = lines[1];
  for (const Line& line : lines) {
    const double of_gemm = percent(line.seconds.size(), [&](size_t i) {
      return line.flops / line.seconds[i] * square.seconds[i] / square.flops;
    });
    const double of_copy = percent(line.seconds.size(), [&](size_t i) {
      return line.bytes() / line.seconds[i] * copy.seconds[i] / copy.bytes();
    });
    std::printf(
        "%-30s %9.3f %9.1f %7.0f %7.1f %7.0f  %s\n",
        line.name,
        line.time() * 1e3,
        line.flops / line.time() * 1e-9,
        of_gemm,
        line.bytes() / line.time() * 1e-9,
        of_copy,
        of_gemm > of_copy ? "operations" : "bytes");
  }
}

void measure(const Size& size, int rounds, double seconds_of_a_line) {
  const WorkspaceScope workspace; // as a pass has it: no fresh pages
  at::manual_seed(1);
  std::vector<Line> lines = machine_lines(size);
  add_destination_lines(size, lines);
  add_projection_lines(size, lines);
  add_source_lines(size, lines);
  for (Line& line : lines) { // first touches, then how often a round needs it
    line.run();
    line.measure();
    line.repetitions =
        1 + static_cast<int>(seconds_of_a_line / std::max(line.time(), 1e-6));
    line.seconds.clear();
  }
  for (int round = 0; round < rounds; round++) {
    for (Line& line : lines) {
      line.measure();
    }
  }
  std::printf(
      "\n%s: d_model %ld, %ld heads, %ld sources, %ld x %ld tokens; one "
      "thread, %d rounds\n",
      size.name,
      size.d_model,
      size.heads,
      size.n_srcs(),
      size.batch,
      size.seq,
      rounds);
  print(lines);
}

void print_machine() {
  std::printf("%s\n", bridge::machine().c_str());
  for (const char* name : {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"}) {
    if (const char* value = std::getenv(name)) {
      std::printf(
          "NOT COMPARABLE: %s=%s keeps OpenBLAS from this processor's own "
          "kernels; unset it to measure\n",
          name,
          value);
    }
  }
}

} // namespace

} // namespace autocircuit::benchmark

// Rounds, 20 unless given; 0: only whether it runs, at a tiny size.
int main(int argc, char** argv) {
  using namespace autocircuit::benchmark;
  autocircuit::bridge::set_pool_sizes(1);
  const at::NoGradGuard no_grad;
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 20;
  print_machine();
  if (rounds == 0) {
    measure(kTiny, 1, 0);
    return 0;
  }
  measure(kGpt2Small, rounds, kSecondsOfALine);
  measure(kFourLayer, rounds, kSecondsOfALine);
  return 0;
}
