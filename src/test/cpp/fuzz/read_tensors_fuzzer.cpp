// Any layout over any file: it is refused, or what is read lies within the
// file.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>

#include "autocircuit/model/tensor_file.h"

namespace {

// The path of a file in memory, the same one for every input.
std::string file_of(const std::string& content) {
  static const int file = memfd_create("fuzzed", MFD_CLOEXEC);
  if (ftruncate(file, 0) != 0 ||
      pwrite(file, content.data(), content.size(), 0) !=
          static_cast<ssize_t>(content.size())) {
    std::abort();
  }
  return "/proc/self/fd/" + std::to_string(file);
}

std::vector<int64_t> layout_of(FuzzedDataProvider& input) {
  std::vector<int64_t> layout;
  const size_t size = input.ConsumeIntegralInRange<size_t>(0, 24);
  while (layout.size() < size) {
    layout.push_back(
        input.ConsumeBool() ? input.ConsumeIntegralInRange<int64_t>(-1, 40)
                            : input.ConsumeIntegral<int64_t>());
  }
  return layout;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  const at::ScalarType dtype =
      input.PickValueInArray({at::kFloat, at::kDouble, at::kHalf, at::kByte});
  const std::vector<int64_t> layout = layout_of(input);
  const std::string path = file_of(input.ConsumeRemainingBytesAsString());
  try {
    const auto stored = autocircuit::stored_tensors(path, layout);
    for (const at::Tensor& tensor :
         autocircuit::read_tensors(path, stored, dtype, at::kCPU)) {
      // The sanitizer sees a read outside of what was allocated.
      const auto* bytes = static_cast<const char*>(tensor.const_data_ptr());
      const volatile std::string copy(bytes, tensor.nbytes());
    }
  } catch (const c10::Error&) {
    // Refused.
  }
  return 0;
}
