#include "autocircuit/model/tensor_file.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <system_error>

namespace autocircuit {

namespace {

/// A read-only mapping of a whole file.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    TORCH_CHECK(file >= 0, path, ": ", reason());
    struct stat status {};
    if (fstat(file, &status) == 0 && status.st_size > 0) {
      size_ = static_cast<size_t>(status.st_size);
      data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    }
    const std::string failure = size_ == 0 ? "empty file" : reason();
    close(file);
    TORCH_CHECK(data_ != MAP_FAILED && size_ > 0, path, ": ", failure);
    madvise(data_, size_, MADV_SEQUENTIAL);
  }
  ~MappedFile() {
    munmap(data_, size_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile(MappedFile&&) = delete;
  MappedFile& operator=(MappedFile&&) = delete;

  std::byte* data() const {
    return static_cast<std::byte*>(data_);
  }
  int64_t size() const {
    return static_cast<int64_t>(size_);
  }

  /// Gives back the pages that lie wholly before a byte.
  void release_before(int64_t end) const {
    const int64_t page = sysconf(_SC_PAGESIZE);
    madvise(data_, static_cast<size_t>(end / page * page), MADV_DONTNEED);
  }

 private:
  static std::string reason() {
    return std::generic_category().message(errno);
  }

  void* data_ = MAP_FAILED;
  size_t size_ = 0;
};

void check_stored(
    const std::string& path,
    const StoredTensor& stored,
    int64_t file_size) {
  int64_t bytes = static_cast<int64_t>(c10::elementSize(stored.type));
  for (const int64_t dim : stored.shape) {
    TORCH_CHECK(
        dim >= 0 && !__builtin_mul_overflow(bytes, dim, &bytes),
        path,
        ": impossible tensor shape ",
        stored.shape);
  }
  TORCH_CHECK(
      stored.begin >= 0 && stored.end - stored.begin == bytes &&
          stored.end <= file_size,
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

} // namespace

std::vector<at::Tensor> read_tensors(
    const std::string& path,
    const std::vector<StoredTensor>& stored,
    at::ScalarType dtype,
    at::Device device) {
  const MappedFile file(path);
  std::vector<at::Tensor> tensors;
  tensors.reserve(stored.size());
  for (const StoredTensor& entry : stored) {
    check_stored(path, entry, file.size());
    at::Tensor tensor =
        at::empty(entry.shape, at::TensorOptions(device).dtype(dtype));
    if (tensor.numel() > 0) {
      // Bytes first: entries of a safetensors file need not be aligned.
      const at::Tensor bytes = at::from_blob(
          file.data() + entry.begin, {entry.end - entry.begin}, at::kByte);
      const auto size = static_cast<int64_t>(c10::elementSize(entry.type));
      const at::Tensor source =
          reinterpret_cast<uintptr_t>(bytes.const_data_ptr()) %
                  static_cast<uintptr_t>(size) ==
              0
          ? bytes
          : bytes.clone();
      tensor.copy_(source.view(entry.type).view(entry.shape));
    }
    tensors.push_back(std::move(tensor));
    file.release_before(entry.end);
  }
  return tensors;
}

} // namespace autocircuit
