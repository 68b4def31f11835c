// Tensors out of files, whole and broken.
#include "autocircuit/model/tensor_file.h"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "devices.h"

#include "check.h"

namespace autocircuit::test {

namespace {

// A file in a folder of its own, removed at the end.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& content) {
    std::string name =
        (std::filesystem::temp_directory_path() / "tensor_file_XXXXXX");
    folder_ = mkdtemp(name.data());
    path_ = folder_ / "tensors.bin";
    std::ofstream(path_, std::ios::binary)
        .write(content.data(), static_cast<std::streamsize>(content.size()));
  }
  ~TemporaryFile() {
    std::filesystem::remove_all(folder_);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  TemporaryFile(TemporaryFile&&) = delete;
  TemporaryFile& operator=(TemporaryFile&&) = delete;

  std::string path() const {
    return path_.string();
  }

 private:
  std::filesystem::path folder_;
  std::filesystem::path path_;
};

std::string bytes_of(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.contiguous();
  return {
      static_cast<const char*>(plain.const_data_ptr()),
      static_cast<size_t>(plain.nbytes())};
}

at::Tensor read_one(
    const std::string& path,
    const StoredTensor& stored,
    at::ScalarType dtype = at::kFloat) {
  return read_tensors(path, {stored}, dtype, at::kCPU).at(0);
}

constexpr int64_t kHuge = int64_t{1} << 40;

} // namespace

TEST(every_floating_type_is_converted) {
  cpu_only("files are read there");
  at::manual_seed(1);
  const at::Tensor values = at::randn({3, 5}, at::kDouble);
  for (const at::ScalarType type :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor stored = values.to(type);
    const TemporaryFile file(bytes_of(stored));
    const auto size = static_cast<int64_t>(stored.nbytes());
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      CHECK_CLOSE(
          read_one(file.path(), {type, 0, size, {3, 5}}, dtype),
          stored.to(dtype),
          0,
          0);
    }
  }
}

TEST(entries_need_not_be_aligned) {
  cpu_only("files are read there");
  const at::Tensor values = at::randn({7});
  for (const int64_t offset : {1, 2, 3, 5, 4097}) {
    const TemporaryFile file(
        std::string(static_cast<size_t>(offset), 'x') + bytes_of(values));
    CHECK_CLOSE(
        read_one(file.path(), {at::kFloat, offset, offset + 28, {7}}),
        values,
        0,
        0);
  }
}

TEST(many_pages_in_any_order) {
  cpu_only("files are read there");
  const at::Tensor a = at::randn({5000});
  const at::Tensor b = at::randn({3000});
  const TemporaryFile file(bytes_of(a) + bytes_of(b));
  const auto tensors = read_tensors(
      file.path(),
      {{at::kFloat, 20000, 32000, {3000}},
       {at::kFloat, 0, 20000, {50, 100}},
       {at::kFloat, 20000, 32000, {3, 1000}}},
      at::kFloat,
      at::kCPU);
  CHECK_CLOSE(tensors[0], b, 0, 0);
  CHECK_CLOSE(tensors[1], a.view({50, 100}), 0, 0);
  CHECK_CLOSE(tensors[2], b.view({3, 1000}), 0, 0);
}

TEST(conversions_of_more_than_the_buffer_holds) {
  cpu_only("files are read there");
  const at::Tensor values = at::randn({3, 1000003}).to(at::kHalf);
  const TemporaryFile file("x" + bytes_of(values));
  const auto end = static_cast<int64_t>(values.nbytes()) + 1;
  CHECK_CLOSE(
      read_one(file.path(), {at::kHalf, 1, end, {3, 1000003}}),
      values.to(at::kFloat),
      0,
      0);
}

TEST(meta_tensors_have_no_values_to_read) {
  cpu_only("files are read there");
  const TemporaryFile file(std::string(24, 'x'));
  const at::Tensor tensor =
      read_tensors(
          file.path(), {{at::kFloat, 0, 24, {2, 3}}}, at::kDouble, at::kMeta)
          .at(0);
  CHECK(tensor.is_meta());
  CHECK_EQUAL(tensor.sizes().vec(), (std::vector<int64_t>{2, 3}));
}

// A mapping could not survive this: a page that is gone when it is read.
TEST(files_that_shrink_while_they_are_read) {
  cpu_only("files are read there");
  constexpr int64_t kValues = 500000;
  const at::Tensor values = at::randn({kValues});
  const TemporaryFile file(bytes_of(values));
  std::atomic<bool> done = false;
  std::thread truncating([&] {
    while (!done) {
      std::filesystem::resize_file(file.path(), 4096);
      std::filesystem::resize_file(file.path(), kValues * 4);
    }
  });
  int refused = 0;
  bool named = true;
  for (int i = 0; i < 300 || (refused == 0 && i < 100000); i++) {
    try {
      read_one(file.path(), {at::kFloat, 0, kValues * 4, {kValues}});
    } catch (const c10::Error& error) {
      const std::string what = error.what_without_backtrace();
      named = named && what.find(file.path()) != std::string::npos;
      refused++;
    }
  }
  done = true;
  truncating.join();
  CHECK(named);
  CHECK(refused > 0);
}

TEST(empty_tensors_and_scalars) {
  cpu_only("files are read there");
  const TemporaryFile file(bytes_of(at::full({1}, 2.5F)));
  CHECK_EQUAL(
      read_one(file.path(), {at::kFloat, 4, 4, {0, 3}}).sizes().vec(),
      (std::vector<int64_t>{0, 3}));
  CHECK_EQUAL(
      read_one(file.path(), {at::kFloat, 0, 4, {}}).item<double>(), 2.5);
}

TEST(broken_layouts_are_refused) {
  cpu_only("files are read there");
  const TemporaryFile file(std::string(100, 'x'));
  // Truncated: the entry ends behind the file.
  CHECK_THROWS(read_one(file.path(), {at::kFloat, 0, 104, {26}}), "100 bytes");
  CHECK_THROWS(read_one(file.path(), {at::kFloat, 96, 104, {2}}), "96 to 104");
  // Bytes that do not hold the shape.
  CHECK_THROWS(read_one(file.path(), {at::kFloat, 0, 39, {10}}), "0 to 39");
  CHECK_THROWS(read_one(file.path(), {at::kFloat, 40, 0, {10}}), "40 to 0");
  CHECK_THROWS(read_one(file.path(), {at::kFloat, -4, 36, {10}}), "-4 to 36");
  CHECK_THROWS(read_one(file.path(), {at::kFloat, 0, 4, {-1}}), "shape");
  // Two elements in a byte, where the layout claims one.
  CHECK_THROWS(read_one(file.path(), {at::kQUInt4x2, 0, 4, {4}}), "QUInt4x2");
  // Sizes whose product overflows to something that fits.
  CHECK_THROWS(
      read_one(file.path(), {at::kFloat, 0, 0, {kHuge, kHuge, 16}}), "shape");
  CHECK_THROWS(
      read_one(
          file.path(),
          {at::kFloat,
           std::numeric_limits<int64_t>::min(),
           std::numeric_limits<int64_t>::max(),
           {1}}),
      file.path());
}

TEST(broken_files_are_named) {
  cpu_only("files are read there");
  CHECK_THROWS(
      read_one("/nowhere/tensors.bin", {at::kFloat, 0, 4, {1}}),
      "/nowhere/tensors.bin");
  const TemporaryFile empty("");
  CHECK_THROWS(read_one(empty.path(), {at::kFloat, 0, 4, {1}}), empty.path());
  CHECK_THROWS(
      read_one(
          std::filesystem::temp_directory_path().string(),
          {at::kFloat, 0, 4, {1}}),
      std::filesystem::temp_directory_path().string());
}

TEST(tensors_out_of_a_file_are_those_of_the_cpu) {
  const at::Device device = other_device_or_skip();
  const at::Tensor values = at::randn({7});
  const TemporaryFile file(bytes_of(values));
  CHECK_CLOSE(
      read_tensors(
          file.path(), {{at::kFloat, 0, 28, {7}}}, at::kFloat, device)[0]
          .cpu(),
      values,
      0,
      0);
}

} // namespace autocircuit::test
