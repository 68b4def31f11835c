// The three things that edge patching adds to a forward pass, against what the
// machine can do, and whole passes against the plain one:
// native-build/run-engine-benchmark.sh; compare-benchmark.sh holds two commits
// against each other.
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
// circuit, 3 %, ZERO: tree patching that leaves so many edges as they are and
// ablates the rest, the mean of several random circuits.
//
// Bytes are those that must be moved at least: every input read once and every
// output written once. So the larger of the two percentages says how close a
// line comes to what bounds it; it may exceed 100 where all fits a cache, or
// where our kernel is faster than the square product. Lines take turns, and a
// percentage is the median of those of single rounds, so that a busy machine
// moves it less than times; these are processor time on one thread of the CPU,
// and time by the clock on several or on another device.
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "autocircuit/bridge/bridge.h"
#include "autocircuit/bridge/threads.h"
#include "autocircuit/memory/workspace_pool.h"
#include "far_device.h"
#include "lines.h"

namespace autocircuit::benchmark {

namespace {

constexpr Size kSizes[] = {
    {"gpt2-small", 12, 768, 12, 50257, 8, 16, 4, 1024, 64 << 20},
    {"4-layer", 4, 256, 8, 5000, 8, 16, 8, 1024, 64 << 20}};
constexpr Size kTiny{"tiny", 2, 16, 4, 11, 2, 3, 1, 16, 1 << 10};

constexpr double kSecondsOfALine = 5e-3; // in one round, at least

struct Options {
  int rounds = 20;
  int threads = 1;
  std::string rows; // part of their names
  std::string size; // one of kSizes; empty: all
  at::Device device = at::kCPU;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

double seconds_of(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) +
      1e-9 * static_cast<double>(now.tv_nsec);
}

class Table {
 public:
  Table(std::vector<Line> lines, const Options& options)
      : lines_(std::move(lines)), options_(options) {}

  bool wanted() const {
    return std::any_of(lines_.begin(), lines_.end(), [&](const Line& line) {
      return is_wanted(line);
    });
  }

  void measure(int rounds, double seconds_of_a_line) {
    // The lines that others are compared with are always measured.
    std::erase_if(lines_, [&](const Line& line) {
      return !is_wanted(line) && line.name != kSquare && line.name != kCopy &&
          line.name != kPlain;
    });
    for (Line& line :
         lines_) { // first touches, then how often a round needs it
      line.run();
      measure(line);
      line.repetitions = 1 +
          static_cast<int>(seconds_of_a_line /
                           std::max(line.seconds[0] * line.runs, 1e-6));
      line.seconds.clear();
    }
    for (int round = 0; round < rounds; round++) {
      for (Line& line : lines_) {
        measure(line);
      }
    }
  }

  void print_steps() const {
    const char* const header = "%-30s %9s %9s %7s %7s %7s  %s\n";
    std::printf(
        header, "", "ms", "GFLOP/s", "% GEMM", "GB/s", "% copy", "bound by");
    const Line& square = lines_[0];
    const Line& copy = lines_[1];
    for (const Line& line : lines_) {
      const double of_gemm = 100 * median_of(line, [&](size_t i) {
                               return line.flops / line.seconds[i] *
                                   square.seconds[i] / square.flops;
                             });
      const double of_copy = 100 * median_of(line, [&](size_t i) {
                               return line.bytes() / line.seconds[i] *
                                   copy.seconds[i] / copy.bytes();
                             });
      const double time = median(line.seconds);
      if (is_wanted(line)) {
        std::printf(
            "%-30s %9.3f %9.1f %7.0f %7.1f %7.0f  %s\n",
            line.name.c_str(),
            time * 1e3,
            line.flops / time * 1e-9,
            of_gemm,
            line.bytes() / time * 1e-9,
            of_copy,
            of_gemm > of_copy ? "operations" : "bytes");
      }
    }
  }

  void print_passes() const {
    std::printf("%-30s %9s %9s %7s\n", "", "ms", "GFLOP/s", "x plain");
    const Line& plain = lines_[0];
    for (const Line& line : lines_) {
      const double time = median(line.seconds);
      const double ratio = median_of(
          line, [&](size_t i) { return line.seconds[i] / plain.seconds[i]; });
      if (!is_wanted(line)) {
        continue;
      }
      std::printf("%-30s %9.3f ", line.name.c_str(), time * 1e3);
      if (line.flops > 0) {
        std::printf("%9.1f", line.flops / time * 1e-9);
      } else {
        std::printf("%9s", "-");
      }
      std::printf(" %7.2f\n", ratio);
    }
  }

 private:
  bool is_wanted(const Line& line) const {
    return line.name.find(options_.rows) != std::string::npos;
  }

  void measure(Line& line) {
    const bool alone = options_.device.is_cpu() && options_.threads == 1;
    const clockid_t clock = alone ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    const double start = seconds_of(clock);
    for (int i = 0; i < line.repetitions; i++) {
      line.run();
    }
    if (!options_.device.is_cpu()) {
      c10::impl::VirtualGuardImpl(options_.device.type())
          .synchronizeDevice(options_.device.index());
    }
    line.seconds.push_back(
        (seconds_of(clock) - start) / (line.repetitions * line.runs));
  }

  /// Median over rounds of f(round).
  template <typename F>
  static double median_of(const Line& line, const F& f) {
    std::vector<double> values;
    for (size_t i = 0; i < line.seconds.size(); i++) {
      values.push_back(f(i));
    }
    return median(values);
  }

  std::vector<Line> lines_;
  const Options& options_;
};

void measure(const Size& size, const Options& options, double seconds) {
  std::printf(
      "\n%s: d_model %ld, %ld heads, %ld sources, %ld x %ld tokens; %d "
      "thread%s, %d rounds\n",
      size.name,
      size.d_model,
      size.heads,
      size.n_srcs(),
      size.batch,
      size.seq,
      options.threads,
      options.threads == 1 ? "" : "s",
      options.rounds);
  const WorkspaceScope workspace; // as a pass has it: no fresh pages
  at::manual_seed(1);
  Table steps(step_lines(size, options.device), options);
  if (steps.wanted()) {
    steps.measure(options.rounds, seconds);
    steps.print_steps();
  }
  at::manual_seed(2);
  Table passes(pass_lines(size, options.device), options);
  if (passes.wanted()) {
    passes.measure(options.rounds, seconds);
    passes.print_passes();
  }
}

void print_machine(const Options& options) {
  std::printf("%s", bridge::machine().c_str());
  if (!options.device.is_cpu()) {
    std::printf("; device %s", options.device.str().c_str());
  }
  std::printf("\n");
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

[[noreturn]] void usage() {
  std::fprintf(
      stderr,
      "usage: engine_benchmark [ROUNDS] [--size=gpt2-small|4-layer] "
      "[--rows=PART OF A NAME] [--threads=N] [--device=cpu|cuda|far]\n"
      "ROUNDS: 20 unless given; 0: only whether it runs, at a tiny size\n");
  std::exit(2);
}

int number(std::string_view text, int least) {
  int value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() ||
      value < least) {
    usage();
  }
  return value;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i++) {
    const std::string_view argument = argv[i];
    const size_t equals = argument.find('=');
    const std::string_view name = argument.substr(0, equals);
    const std::string value(
        equals == std::string_view::npos ? "" : argument.substr(equals + 1));
    if (name == "--size") {
      options.size = value;
    } else if (name == "--rows") {
      options.rows = value;
    } else if (name == "--threads") {
      options.threads = number(value, 1);
    } else if (name == "--device") {
      if (value == "far") {
        test::install_far_device();
      }
      options.device = at::Device(value);
    } else {
      options.rounds = number(argument, 0);
    }
  }
  return options;
}

} // namespace

} // namespace autocircuit::benchmark

int main(int argc, char** argv) {
  using namespace autocircuit::benchmark;
  Options options = parse(argc, argv);
  autocircuit::bridge::set_pool_sizes(options.threads);
  const at::NoGradGuard no_grad;
  print_machine(options);
  if (options.rounds == 0) {
    options.rounds = 1;
    measure(kTiny, options, 0);
    return 0;
  }
  bool found = false;
  for (const Size& size : kSizes) {
    if (options.size.empty() || options.size == size.name) {
      found = true;
      measure(size, options, kSecondsOfALine);
    }
  }
  if (!found) {
    usage();
  }
  return 0;
}
