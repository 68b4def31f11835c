// The lines that the engine benchmark measures, each one of its tables'.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <numeric>
#include <string>
#include <vector>

namespace autocircuit::benchmark {

struct Size {
  const char* name;
  int64_t layers;
  int64_t d_model;
  int64_t heads;
  int64_t d_vocab;
  int64_t batch;
  int64_t seq;
  int64_t circuits; // of each kind, run in turn
  int64_t square;   // of the big product
  int64_t copied;   // floats

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

struct Line {
  std::string name;
  double flops = 0;  // 0: not counted
  double floats = 0; // read or written at least; 0: not counted
  std::function<void()> run;
  int runs = 1; // passes within `run`
  int repetitions = 1;
  std::vector<double> seconds = {}; // of one pass, by round

  double bytes() const {
    return floats * sizeof(float);
  }
};

/// The names of the lines that others are held against.
constexpr const char* kSquare = "sgemm, square";
constexpr const char* kCopy = "copy";
constexpr const char* kPlain = "plain pass";

inline double product_of(std::initializer_list<int64_t> factors) {
  return std::accumulate(
      factors.begin(), factors.end(), 1.0, [](double all, int64_t factor) {
        return all * static_cast<double>(factor);
      });
}

/// Returns what edge patching adds to a pass, and what the machine can do;
/// without steps that exist on the CPU only where the device is another.
std::vector<Line> step_lines(const Size& size, at::Device device);

/// Whole passes of a model with random weights.
std::vector<Line> pass_lines(const Size& size, at::Device device);

} // namespace autocircuit::benchmark
