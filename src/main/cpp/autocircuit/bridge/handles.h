#pragma once

#include <c10/util/Exception.h>

#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "autocircuit/engine/adding_hooks.h"
#include "autocircuit/patch/mask_fn.h"

// Unpacks what Java passes.
namespace autocircuit::bridge {

// A handle is the address of a shared pointer on the heap. Callers copy the
// pointer for the time of a call.
template <typename T>
int64_t to_handle(std::shared_ptr<T> value) {
  return reinterpret_cast<int64_t>(new std::shared_ptr<T>(std::move(value)));
}

template <typename T>
std::shared_ptr<T> from_handle(int64_t handle) {
  TORCH_CHECK(handle != 0, "the native object is released");
  return *reinterpret_cast<std::shared_ptr<T>*>(handle);
}

template <typename T>
void release_handle(int64_t handle) {
  delete reinterpret_cast<std::shared_ptr<T>*>(handle);
}

template <typename T>
std::shared_ptr<T> from_optional_handle(int64_t handle) {
  return handle == 0 ? nullptr : from_handle<T>(handle);
}

inline std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(line);
  }
  return lines;
}

inline std::string join_lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) {
    text += line + '\n';
  }
  return text;
}

inline std::vector<Addition> additions(
    const std::string& names,
    const std::vector<at::Tensor>& values) {
  const std::vector<std::string> hooks = split_lines(names);
  TORCH_CHECK(
      hooks.size() == values.size(),
      "expected something to add at each of ",
      hooks.size(),
      " hook points, got ",
      values.size());
  std::vector<Addition> additions;
  for (size_t i = 0; i < hooks.size(); i++) {
    additions.push_back({hooks[i], values[i]});
  }
  return additions;
}

inline MaskTransform mask_transform(
    int64_t mask_fn,
    double dropout,
    int64_t seed,
    int64_t step,
    const at::Tensor& uniforms) {
  return {
      .fn = static_cast<MaskFn>(mask_fn),
      .dropout = dropout,
      .noise = {.seed = seed, .step = step, .uniforms = uniforms}};
}

} // namespace autocircuit::bridge
