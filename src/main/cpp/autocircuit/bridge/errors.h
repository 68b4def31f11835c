#pragma once

#include <c10/util/Exception.h>

#include <new>
#include <stdexcept>
#include <utility>

namespace autocircuit::bridge {

/// Runs the body of a boundary function. Whatever it throws leaves as a
/// std::runtime_error whose text carries no C++ backtrace; JavaCPP makes a
/// NativeException of it.
template <typename Body>
auto translating_errors(Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (const c10::Error& e) {
    throw std::runtime_error(e.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    throw std::runtime_error("out of native memory");
  } catch (const std::exception& e) {
    throw std::runtime_error(e.what());
  } catch (...) {
    throw std::runtime_error("unknown native error");
  }
}

} // namespace autocircuit::bridge
