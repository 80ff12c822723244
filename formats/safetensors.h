// safetensors files: a checked reader over a mapping and a streaming, atomic writer.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/file.h"

namespace yopo {

/// A tensor's bytes where they lie in the mapped file; row-major. Keeps the mapping alive.
struct TensorView {
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
  std::shared_ptr<const MappedFile> file;

  int64_t count() const;
  template <typename T>
  const T* data() const {
    return reinterpret_cast<const T*>(bytes.data());
  }
  /// The elements as fp32 (floating types only).
  std::vector<float> floats() const;
  /// The elements as int64 (integer types and bool only).
  std::vector<int64_t> ints() const;
};

/// One safetensors file. The header is checked before anything is trusted: its length, JSON, dtypes, shapes (overflow),
/// offsets (in range, contiguous, no hole, no overlap, covering the file exactly), sizes equal to shape x dtype,
/// names unique. A tensor whose data is not aligned to its element (the format does not promise it) is viewed through
/// an aligned copy in memory. Const members may be called from several threads at once.
class SafetensorsFile {
 public:
  /// UserError naming the file and the tensor for every defect.
  static SafetensorsFile open(const fs::path& path);
  /// The same over a mapping that is already there; MappedFile::copy_of makes one from bytes in memory.
  static SafetensorsFile parse(const std::shared_ptr<const MappedFile>& file);
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  /// Names in the order of their data in the file.
  const std::vector<std::string>& names() const { return names_; }
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  /// UserError naming the file and the nearest name if absent.
  const TensorView& at(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  std::map<std::string, TensorView> tensors_;
  std::vector<std::string> names_;
  std::map<std::string, std::string> metadata_;
};

/// Declared in full before the first byte of data, so that the header is written once and data streams after it.
struct TensorDeclaration {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
};

/// Streams tensors in the declared order into a file that appears only at finish(). The header is padded to 8 bytes
/// with spaces as the reference implementation does. Same declarations and data, same bytes. Disk space for the whole
/// file is claimed at the start: a disk that is too full is a UserError before any data is made. For one thread.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const fs::path& path, const std::vector<TensorDeclaration>& tensors,
                    const std::map<std::string, std::string>& metadata = {});
  /// Appends the next bytes of the current tensor; may be called many times a tensor.
  void append(const void* data, size_t size);
  /// Ends the file; InternalError unless exactly the declared bytes were appended.
  void finish();

 private:
  AtomicFile file_;
  uint64_t expected_ = 0, written_ = 0;
};

/// Small files: writes owned tensors, wider elements first and then by name (the reference implementation's order,
/// which keeps every tensor aligned).
struct OwnedTensor {
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
  static OwnedTensor of(std::vector<int64_t> shape, const std::vector<float>& values);
  static OwnedTensor of(std::vector<int64_t> shape, const std::vector<int64_t>& values);
};
void write_safetensors(const fs::path& path, const std::map<std::string, OwnedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace yopo
