#include "far_device.h"

#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstdlib>

namespace autocircuit::test {

namespace {

constexpr auto kFar = at::kPrivateUse1;

// Added to an address, makes it one that no process has.
constexpr uintptr_t kDistance = uintptr_t{1} << 62U;

class FarAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* near = std::malloc(bytes == 0 ? 1 : bytes);
    TORCH_CHECK(near != nullptr, "the far device is out of memory");
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    void* far =
        reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(near) + kDistance);
    return {far, near, &std::free, at::Device(kFar, 0)};
  }
  void copy_data(void* /*to*/, const void* /*from*/, size_t /*bytes*/)
      const override {
    TORCH_CHECK(false, "not needed");
  }
};

FarAllocator allocator;

struct FarHooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override {
    return true;
  }
  bool isAvailable() const override {
    return true;
  }
  bool hasPrimaryContext(c10::DeviceIndex /*index*/) const override {
    return true;
  }
};

struct FarGuard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override {
    return kFar;
  }
  at::Device exchangeDevice(at::Device /*device*/) const override {
    return getDevice();
  }
  at::Device getDevice() const override {
    return {kFar, 0};
  }
  void setDevice(at::Device /*device*/) const override {}
  void uncheckedSetDevice(at::Device /*device*/) const noexcept override {}
  c10::Stream getStream(at::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    return stream;
  }
  c10::DeviceIndex deviceCount() const noexcept override {
    return 1;
  }
  void synchronizeDevice(c10::DeviceIndex /*index*/) const override {}
};

bool is_far(const at::Tensor& x) {
  return x.defined() && x.device().type() == kFar;
}

/// The same numbers, where the host reaches them.
at::Tensor near(const at::Tensor& x) {
  if (!is_far(x)) {
    return x;
  }
  const auto address = reinterpret_cast<uintptr_t>(x.const_data_ptr());
  return at::from_blob(
      // NOLINTNEXTLINE(performance-no-int-to-ptr)
      reinterpret_cast<void*>(x.numel() == 0 ? 0 : address - kDistance),
      x.sizes(),
      x.strides(),
      x.options().device(at::kCPU));
}

at::Tensor far_empty(
    at::IntArrayRef sizes,
    std::optional<at::ScalarType> dtype,
    std::optional<at::Layout> /*layout*/,
    std::optional<at::Device> /*device*/,
    std::optional<bool> /*pin_memory*/,
    std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(
      sizes,
      &allocator,
      c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
      c10::dtype_or_default(dtype),
      format);
}

at::Tensor far_empty_strided(
    at::IntArrayRef sizes,
    at::IntArrayRef strides,
    std::optional<at::ScalarType> dtype,
    std::optional<at::Layout> /*layout*/,
    std::optional<at::Device> /*device*/,
    std::optional<bool> /*pin_memory*/) {
  return at::detail::empty_strided_generic(
      sizes,
      strides,
      &allocator,
      c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
      c10::dtype_or_default(dtype));
}

at::Tensor& far_copy(at::Tensor& to, const at::Tensor& from, bool /*async*/) {
  near(to).copy_(near(from));
  return to;
}

at::Tensor far_copy_from(
    const at::Tensor& from,
    const at::Tensor& to,
    bool /*async*/) {
  near(to).copy_(near(from));
  return to;
}

const at::Tensor& far_resize(
    const at::Tensor& x,
    at::IntArrayRef sizes,
    std::optional<at::MemoryFormat> /*format*/) {
  if (x.sizes() != sizes) {
    const at::Tensor other = at::empty(sizes, x.options());
    at::TensorImpl* const impl = x.unsafeGetTensorImpl();
    impl->set_storage_keep_dtype(other.storage());
    impl->set_sizes_and_strides(other.sizes(), other.strides(), 0);
  }
  return x;
}

at::Tensor far_copy_from_and_resize(
    const at::Tensor& from,
    const at::Tensor& to) {
  far_resize(to, from.sizes(), std::nullopt);
  near(to).copy_(near(from));
  return to;
}

at::Tensor& far_set(
    at::Tensor& x,
    c10::Storage storage,
    int64_t offset,
    at::IntArrayRef sizes,
    at::IntArrayRef strides) {
  at::TensorImpl* const impl = x.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(storage));
  impl->set_sizes_and_strides(sizes, strides, offset);
  return x;
}

// As CUDA has it: single numbers may come from the CPU, and nothing else.
void check_one_device(
    const c10::OperatorHandle& op,
    const torch::jit::Stack& stack) {
  const auto check = [&](const at::Tensor& x) {
    TORCH_CHECK(
        !x.defined() || is_far(x) || x.dim() == 0,
        op.schema().name(),
        ": expected all tensors on the far device, got one on ",
        x.device());
  };
  const size_t n = op.schema().arguments().size();
  for (size_t i = stack.size() - n; i < stack.size(); i++) {
    const c10::IValue& value = stack[i];
    if (value.isTensor()) {
      check(value.toTensor());
    } else if (value.isTensorList()) {
      for (const at::Tensor& x : value.toTensorVector()) {
        check(x);
      }
    } else if (value.isOptionalTensorList()) {
      for (const std::optional<at::Tensor>& x :
           value.toOptionalTensorVector()) {
        check(x.value_or(at::Tensor()));
      }
    }
  }
}

void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  check_one_device(op, *stack);
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
}

} // namespace

void install_far_device() {
  static FarHooks hooks;
  static FarGuard guard;
  static torch::Library all(
      torch::Library::IMPL, "_", at::DispatchKey::PrivateUse1, __FILE__, 0);
  static torch::Library aten(
      torch::Library::IMPL, "aten", at::DispatchKey::PrivateUse1, __FILE__, 0);
  c10::register_privateuse1_backend("far");
  at::RegisterPrivateUse1HooksInterface(&hooks);
  const c10::impl::DeviceGuardImplRegistrar registrar(kFar, &guard);
  all.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>());
  aten.impl("empty.memory_format", TORCH_FN(far_empty));
  aten.impl("empty_strided", TORCH_FN(far_empty_strided));
  aten.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  aten.impl("view", TORCH_FN(at::native::view));
  aten.impl("unfold", TORCH_FN(at::native::unfold));
  aten.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  aten.impl("copy_", TORCH_FN(far_copy));
  aten.impl("_copy_from", TORCH_FN(far_copy_from));
  aten.impl("_copy_from_and_resize", TORCH_FN(far_copy_from_and_resize));
  aten.impl("resize_", TORCH_FN(far_resize));
  aten.impl("set_.source_Storage_storage_offset", TORCH_FN(far_set));
}

} // namespace autocircuit::test
