#pragma once

#include <c10/util/Exception.h>

#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "autocircuit/bridge/threads.h"

namespace autocircuit::bridge {

/// Returns LibTorch's message, without the C++ backtrace. Its CPU allocator has
/// no error of its own for memory that ran out, so its text is told as ours.
inline std::string text_of(const c10::Error& e) {
  const std::string text = e.what_without_backtrace();
  return text.find("DefaultCPUAllocator") == std::string::npos
      ? text
      : "out of native memory: " + text;
}

/// Runs the body of a boundary function, with as many threads as the process
/// has set. Whatever it throws leaves as a std::runtime_error whose text
/// carries no C++ backtrace; JavaCPP makes a NativeException of it.
template <typename Body>
auto translating_errors(Body&& body) {
  try {
    follow_pool_sizes();
    return std::forward<Body>(body)();
  } catch (const c10::Error& e) {
    throw std::runtime_error(text_of(e));
  } catch (const std::bad_alloc&) {
    throw std::runtime_error("out of native memory");
  } catch (const std::exception& e) {
    throw std::runtime_error(e.what());
  } catch (...) {
    throw std::runtime_error("unknown native error");
  }
}

} // namespace autocircuit::bridge
