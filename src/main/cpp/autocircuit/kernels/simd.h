#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "autocircuit/kernels/rows.h"

// Tools of the kernels: vectors, and one function for each instruction
// set.
namespace autocircuit::kernels {

// Vectors of W floats in the compiler's own notation; it maps them to whatever
// registers the instruction set of the calling function has.
template <int W>
struct Vector {
  typedef float type __attribute__((vector_size(W * sizeof(float))));
};

#define AUTOCIRCUIT_INLINE inline __attribute__((always_inline))

// Loops over vectors that shall stay in registers: an array that a loop indexes
// goes through memory.
#define AUTOCIRCUIT_UNROLL _Pragma("GCC unroll 16")

template <int W>
AUTOCIRCUIT_INLINE void load(typename Vector<W>::type& v, const float* p) {
  std::memcpy(&v, p, sizeof v);
}

template <int W>
AUTOCIRCUIT_INLINE void store(float* p, const typename Vector<W>::type& v) {
  std::memcpy(p, &v, sizeof v);
}

/// Numbers of a and b in turns, from the given one on.
template <int FIRST, int W, size_t... I>
AUTOCIRCUIT_INLINE void interleave(
    typename Vector<W>::type& mixed,
    const typename Vector<W>::type& a,
    const typename Vector<W>::type& b,
    std::index_sequence<I...> /*W of them*/) {
  mixed = __builtin_shufflevector(a, b, (I % 2 * W + FIRST + I / 2)...);
}

// Halves are added until one number is left.
template <int W>
AUTOCIRCUIT_INLINE float sum_of(const typename Vector<W>::type& v) {
  if constexpr (W == 1) {
    return v[0];
  } else {
    typename Vector<W / 2>::type halves[2];
    std::memcpy(halves, &v, sizeof v);
    halves[0] += halves[1];
    return sum_of<W / 2>(halves[0]);
  }
}

/// out[r] = base(r) + sum over i of weights[r, i] * in[i], for R rows and one
/// tile of V vectors of columns; base(r) is a pointer, and may be that of
/// out[r].
template <int R, int V, int W, typename Base>
AUTOCIRCUIT_INLINE void weighted_tile(
    Rows out,
    const Base& base,
    ConstMatrix weights,
    ConstRows in,
    int64_t n_in) {
  typename Vector<W>::type sums[R][V];
  AUTOCIRCUIT_UNROLL
  for (int r = 0; r < R; r++) {
    const float* first = base(r);
    AUTOCIRCUIT_UNROLL
    for (int v = 0; v < V; v++) {
      load<W>(sums[r][v], first + v * W);
    }
  }
  const float* x = in.data;
  const float* w = weights.data;
  for (int64_t i = 0; i < n_in;
       i++, x += in.stride, w += weights.column_stride) {
    typename Vector<W>::type columns[V];
    AUTOCIRCUIT_UNROLL
    for (int v = 0; v < V; v++) {
      load<W>(columns[v], x + v * W);
    }
    AUTOCIRCUIT_UNROLL
    for (int r = 0; r < R; r++) {
      AUTOCIRCUIT_UNROLL
      for (int v = 0; v < V; v++) {
        sums[r][v] += w[r * weights.row_stride] * columns[v];
      }
    }
  }
  AUTOCIRCUIT_UNROLL
  for (int r = 0; r < R; r++) {
    AUTOCIRCUIT_UNROLL
    for (int v = 0; v < V; v++) {
      store<W>(out.data + r * out.stride + v * W, sums[r][v]);
    }
  }
}

/// Calls f<number of rows>(first row) for blocks of R rows, of four, of two and
/// of one.
template <int R, typename F>
AUTOCIRCUIT_INLINE void for_row_blocks(int64_t n, const F& f) {
  int64_t row = 0;
  for (; row + R <= n; row += R) {
    f.template operator()<R>(row);
  }
  for (; row + 4 <= n; row += 4) {
    f.template operator()<4>(row);
  }
  for (; row + 2 <= n; row += 2) {
    f.template operator()<2>(row);
  }
  for (; row < n; row++) {
    f.template operator()<1>(row);
  }
}

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

/// The widest that there is, or what LibTorch's own variable allows.
inline InstructionSet instruction_set() {
  static const InstructionSet set = [] {
    __builtin_cpu_init();
    const char* wanted = std::getenv("ATEN_CPU_CAPABILITY");
    const std::string_view most = wanted != nullptr ? wanted : "";
    if (__builtin_cpu_supports("avx512f") && most != "avx2" &&
        most != "default") {
      return InstructionSet::kAvx512;
    }
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
            most != "default"
        ? InstructionSet::kAvx2
        : InstructionSet::kBaseline;
  }();
  return set;
}

// A function NAME for each instruction set, and one that chooses.
#define AUTOCIRCUIT_KERNEL(NAME, PARAMETERS, ARGUMENTS, WIDE, NARROW)      \
  static __attribute__((                                                   \
      target("avx512f,avx2,fma"))) void NAME##_avx512 PARAMETERS {         \
    WIDE ARGUMENTS;                                                        \
  }                                                                        \
  static __attribute__((target("avx2,fma"))) void NAME##_avx2 PARAMETERS { \
    NARROW ARGUMENTS;                                                      \
  }                                                                        \
  static void NAME##_baseline PARAMETERS {                                 \
    NARROW ARGUMENTS;                                                      \
  }                                                                        \
  void NAME PARAMETERS {                                                   \
    switch (instruction_set()) {                                           \
      case InstructionSet::kAvx512:                                        \
        return NAME##_avx512 ARGUMENTS;                                    \
      case InstructionSet::kAvx2:                                          \
        return NAME##_avx2 ARGUMENTS;                                      \
      case InstructionSet::kBaseline:                                      \
        return NAME##_baseline ARGUMENTS;                                  \
    }                                                                      \
  }

} // namespace autocircuit::kernels
