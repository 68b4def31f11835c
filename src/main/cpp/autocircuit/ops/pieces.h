#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

namespace autocircuit {

/// f(x) of a function of each number of x [rows, columns], computed in pieces
/// whose borders follow from the columns alone. LibTorch's vectorised functions
/// round the numbers that are left over at the end of a piece differently from
/// those in whole vectors, and its pieces depend on rows and threads.
template <typename F>
at::Tensor in_pieces(const at::Tensor& x, const F& f) {
  // Fewer than LibTorch divides among threads.
  constexpr int64_t kPiece = 16384;
  if (!x.is_cpu()) {
    return f(x);
  }
  const at::Tensor out = at::empty_like(x);
  for (int64_t row = 0; row < x.size(0); row++) {
    for (int64_t c = 0; c < x.size(1); c += kPiece) {
      const int64_t n = std::min(kPiece, x.size(1) - c);
      out[row].narrow(0, c, n).copy_(f(x[row].narrow(0, c, n)));
    }
  }
  return out;
}

} // namespace autocircuit
