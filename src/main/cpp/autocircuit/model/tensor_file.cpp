#include "autocircuit/model/tensor_file.h"

#include <ATen/ops/empty.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace autocircuit {

namespace {

// Converted values pass through a buffer of this size.
constexpr int64_t kBufferBytes = int64_t{4} << 20;

std::string reason() {
  return std::generic_category().message(errno);
}

class OpenFile {
 public:
  explicit OpenFile(std::string path)
      : path_(std::move(path)),
        file_(open(path_.c_str(), O_RDONLY | O_CLOEXEC)) {
    TORCH_CHECK(file_ >= 0, path_, ": ", reason());
  }
  ~OpenFile() {
    close(file_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  OpenFile(OpenFile&&) = delete;
  OpenFile& operator=(OpenFile&&) = delete;

  int64_t size() const {
    struct stat status {};
    TORCH_CHECK(fstat(file_, &status) == 0, path_, ": ", reason());
    return status.st_size;
  }

  /// Reads as many bytes as are asked for; throws if there are fewer.
  void read(void* to, int64_t begin, int64_t bytes) const {
    auto* next = static_cast<char*>(to);
    while (bytes > 0) {
      const ssize_t n = pread(file_, next, static_cast<size_t>(bytes), begin);
      if (n < 0 && errno == EINTR) {
        continue;
      }
      TORCH_CHECK(
          n >= 0, path_, ": byte ", begin, " cannot be read: ", reason());
      TORCH_CHECK(
          n > 0,
          path_,
          ": ends at byte ",
          begin,
          " with ",
          bytes,
          " bytes missing; it shrank while it was read");
      next += n;
      begin += n;
      bytes -= n;
    }
  }

 private:
  std::string path_;
  int file_;
};

// Types that files hold. LibTorch packs some of its other types, so that a
// tensor has fewer bytes than elements.
bool is_stored_type(at::ScalarType type) {
  return type == at::kDouble || type == at::kFloat || type == at::kHalf ||
      type == at::kBFloat16 || type == at::kByte;
}

void check_stored(
    const std::string& path,
    const StoredTensor& stored,
    int64_t file_size) {
  TORCH_CHECK(
      is_stored_type(stored.type),
      path,
      ": expected Double, Float, Half, BFloat16 or Byte values, got type ",
      stored.type);
  int64_t bytes = static_cast<int64_t>(c10::elementSize(stored.type));
  for (const int64_t dim : stored.shape) {
    TORCH_CHECK(
        dim >= 0 && !__builtin_mul_overflow(bytes, dim, &bytes),
        path,
        ": impossible tensor shape ",
        stored.shape);
  }
  TORCH_CHECK(
      stored.begin >= 0 && stored.begin <= stored.end &&
          stored.end - stored.begin == bytes && stored.end <= file_size,
      path,
      ": expected a tensor ",
      stored.shape,
      " of ",
      stored.type,
      " within ",
      file_size,
      " bytes, got bytes ",
      stored.begin,
      " to ",
      stored.end);
}

void read_values(
    const OpenFile& file,
    const StoredTensor& stored,
    const at::Tensor& values) {
  if (values.is_cpu() && values.scalar_type() == stored.type) {
    file.read(
        values.mutable_data_ptr(), stored.begin, stored.end - stored.begin);
    return;
  }
  const auto size = static_cast<int64_t>(c10::elementSize(stored.type));
  const int64_t step = std::min(values.numel(), kBufferBytes / size);
  const at::Tensor buffer = at::empty({step}, stored.type);
  for (int64_t i = 0; i < values.numel(); i += step) {
    const int64_t n = std::min(step, values.numel() - i);
    file.read(buffer.mutable_data_ptr(), stored.begin + i * size, n * size);
    values.narrow(0, i, n).copy_(buffer.narrow(0, 0, n));
  }
}

} // namespace

std::vector<StoredTensor> stored_tensors(
    const std::string& path,
    at::IntArrayRef layout) {
  std::vector<StoredTensor> stored;
  for (size_t i = 0; i < layout.size();) {
    TORCH_CHECK(
        i + 4 <= layout.size() && layout[i + 3] >= 0 &&
            i + 4 + static_cast<size_t>(layout[i + 3]) <= layout.size(),
        path,
        ": tensor layout ends early");
    const auto dims = static_cast<size_t>(layout[i + 3]);
    stored.push_back(
        {.type = static_cast<at::ScalarType>(layout[i]),
         .begin = layout[i + 1],
         .end = layout[i + 2],
         .shape = layout.slice(i + 4, dims).vec()});
    i += 4 + dims;
  }
  return stored;
}

std::vector<at::Tensor> read_tensors(
    const std::string& path,
    const std::vector<StoredTensor>& stored,
    at::ScalarType dtype,
    at::Device device) {
  const OpenFile file(path);
  const int64_t file_size = file.size();
  std::vector<at::Tensor> tensors;
  tensors.reserve(stored.size());
  for (const StoredTensor& entry : stored) {
    check_stored(path, entry, file_size);
    at::Tensor tensor =
        at::empty(entry.shape, at::TensorOptions(device).dtype(dtype));
    if (!tensor.is_meta()) {
      read_values(file, entry, tensor.view({-1}));
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

} // namespace autocircuit
