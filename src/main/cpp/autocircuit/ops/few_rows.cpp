#include "autocircuit/ops/few_rows.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "autocircuit/kernels/row_kernels.h"
#include "autocircuit/kernels/tensors.h"
#include "autocircuit/ops/product.h"

namespace autocircuit {

namespace {

// More rows than this are worth packing w for.
constexpr int64_t kFewRows = 16;
// Rows of w that stay in the cache while those of x pass.
constexpr int64_t kTile = 16;
// Columns of w that a thread takes at least.
constexpr int64_t kColumns = 64;

bool fits(const at::Tensor& x) {
  return fits_kernels(x) && !is_recorded(x);
}

at::Tensor few_times_rows(const at::Tensor& x, const at::Tensor& w) {
  const int64_t d = w.size(1);
  const int64_t n = w.size(0);
  const at::Tensor flat = x.reshape({-1, d});
  const int64_t rows = flat.size(0);
  const at::Tensor out = at::empty({rows, n}, x.options());
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = n;
  if (is_rehearsed(out)) {
    return out.view(shape);
  }
  const kernels::ConstRows a{flat.const_data_ptr<float>(), flat.stride(0)};
  auto* data = out.mutable_data_ptr<float>();
  const int64_t tiles = (n + kTile - 1) / kTile;
  at::parallel_for(
      0, tiles, grain(rows * kTile * d), [&](int64_t from, int64_t to) {
        std::vector<float> products(static_cast<size_t>(rows * kTile));
        for (int64_t first = from * kTile; first < std::min(to * kTile, n);
             first += kTile) {
          const int64_t width = std::min(kTile, n - first);
          std::fill(products.begin(), products.end(), 0.0f);
          kernels::add_row_products(
              products.data(),
              a,
              rows,
              {w.const_data_ptr<float>() + first * w.stride(0), w.stride(0)},
              width,
              d);
          for (int64_t r = 0; r < rows; r++) {
            std::copy_n(
                products.data() + r * width, width, data + r * n + first);
          }
        }
      });
  return out.view(shape);
}

} // namespace

bool has_few_rows(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  return x.size(0) <= kFewRows && x.size(1) > 0 && fits(x) && fits(w) &&
      (!b.defined() || fits(b));
}

at::Tensor few_rows_product(
    const at::Tensor& x,
    const at::Tensor& w,
    const at::Tensor& b) {
  const int64_t rows = x.size(0);
  const int64_t k = w.size(0);
  const int64_t n = w.size(1);
  TORCH_CHECK(
      x.size(1) == k && (!b.defined() || b.numel() == n),
      "expected [rows, k] times [k, n] and [n] numbers to add, got ",
      x.sizes(),
      " and ",
      w.sizes());
  const at::Tensor base = b.defined() ? b : at::zeros({n}, x.options());
  const at::Tensor out = at::empty({rows, n}, x.options());
  if (is_rehearsed(out)) {
    return out;
  }
  const kernels::ConstMatrix factors{
      x.const_data_ptr<float>(), x.stride(0), x.stride(1)};
  const int64_t pieces = (n + kColumns - 1) / kColumns;
  at::parallel_for(
      0, pieces, grain(rows * k * kColumns), [&](int64_t from, int64_t to) {
        std::vector<float> scratch(static_cast<size_t>(rows * k));
        const int64_t first = from * kColumns;
        const std::vector<const float*> bases(
            static_cast<size_t>(rows), base.const_data_ptr<float>() + first);
        kernels::weighted_rows(
            {out.mutable_data_ptr<float>() + first, out.stride(0)},
            bases.data(),
            factors,
            {w.const_data_ptr<float>() + first, w.stride(0)},
            rows,
            k,
            std::min(to * kColumns, n) - first,
            scratch.data());
      });
  return out;
}

at::Tensor times_rows(const at::Tensor& x, const at::Tensor& w) {
  if (x.numel() <= kFewRows * w.size(1) && fits(x) && fits(w)) {
    return few_times_rows(x, w);
  }
  const at::Tensor flat = x.reshape({-1, w.size(1)});
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = w.size(0);
  return product(flat, w.t()).view(shape);
}

at::Tensor times_rows_apart(const at::Tensor& x, const at::Tensor& w) {
  return fits(x) && fits(w) ? few_times_rows(x, w) : times_rows(x, w);
}

} // namespace autocircuit
