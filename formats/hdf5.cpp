#include "formats/hdf5.h"

// The structures that 1.10 introduced, under every later version too.
#define H5_USE_110_API
#include <hdf5.h>

#include <algorithm>
#include <set>

#include "core/dtype.h"
#include "core/error.h"
#include "formats/hdf5_seal.h"

namespace yopo {

namespace {

// What fits an object header's message; longer text belongs into a dataset.
constexpr size_t kLongestAttribute = 64'000;  // bytes

/// The library prints its own error stack by default; our messages take its place.
class Silence {
 public:
  Silence() {
    H5Eget_auto2(H5E_DEFAULT, &report_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~Silence() { H5Eset_auto2(H5E_DEFAULT, report_, data_); }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  H5E_auto2_t report_ = nullptr;
  void* data_ = nullptr;
};

/// An identifier of the library, closed on every way out.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t), const std::string& what) : id_(id), close_(close) {
    require(id >= 0, "{}", what);
  }
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

/// A string type of `size` bytes, or of variable length for H5T_VARIABLE; UTF-8.
Handle string_type(size_t size, const std::string& what) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  if (type >= 0) {
    H5Tset_size(type, size);
    H5Tset_cset(type, H5T_CSET_UTF8);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
  }
  return Handle(type, H5Tclose, what);
}

std::vector<hsize_t> dimensions(const std::vector<int64_t>& shape) { return {shape.begin(), shape.end()}; }

size_t longest(const std::vector<std::string>& texts) {
  size_t most = 1;
  for (const std::string& text : texts) most = std::max(most, text.size());
  return most;
}

void write_dataset(hid_t file, const std::string& name, const Hdf5Array& array, const std::string& where) {
  const std::string what = fmt::format("cannot write {}: dataset {}", where, name);
  const int64_t count = element_count(array.shape, what);
  std::visit(
      [&](const auto& values) { ensure(int64_t(values.size()) == count, "HDF5 values do not fill their shape"); },
      array.values);
  const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose, what);
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, what);
  require(H5Pset_create_intermediate_group(links, 1) >= 0 && H5Pset_obj_track_times(creation, 0) >= 0 &&
              H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY) >= 0,
          "{}", what);
  const auto sizes = dimensions(array.shape);
  const Handle space(sizes.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(int(sizes.size()), sizes.data(), nullptr),
                     H5Sclose, what);
  const auto write = [&](hid_t stored, hid_t memory, const void* data) {
    const Handle dataset(H5Dcreate2(file, name.c_str(), stored, space, links, creation, H5P_DEFAULT), H5Dclose, what);
    if (count > 0) require(H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0, "{}", what);
  };
  if (const auto* doubles = std::get_if<std::vector<double>>(&array.values)) {
    write(H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, doubles->data());
  } else if (const auto* integers = std::get_if<std::vector<int64_t>>(&array.values)) {
    write(H5T_STD_I64LE, H5T_NATIVE_INT64, integers->data());
  } else {
    // Fixed length, so that the bytes do not depend on the library's heap.
    const auto& texts = std::get<std::vector<std::string>>(array.values);
    const size_t width = longest(texts);
    std::string packed(width * texts.size(), '\0');
    for (size_t i = 0; i < texts.size(); ++i) {
      ensure(texts[i].find('\0') == std::string::npos, "HDF5 text with a zero byte");
      std::copy(texts[i].begin(), texts[i].end(), packed.begin() + std::ptrdiff_t(i * width));
    }
    const Handle type = string_type(width, what);
    write(type, type, packed.data());
  }
}

void write_attribute(hid_t root, const std::string& name, const std::string& value, const std::string& where) {
  const std::string what = fmt::format("cannot write {}: attribute {}", where, name);
  ensure(value.find('\0') == std::string::npos, "HDF5 text with a zero byte");
  ensure(value.size() <= kLongestAttribute, "HDF5 attribute longer than 64000 bytes");
  const Handle type = string_type(std::max<size_t>(value.size(), 1), what);
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose, what);
  const Handle attribute(H5Acreate2(root, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, what);
  std::string padded = value;
  if (padded.empty()) padded.push_back('\0');
  require(H5Awrite(attribute, type, padded.data()) >= 0, "{}", what);
}

/// Groups are made ahead, in order, for their creation options cannot be given to intermediate ones.
void write_groups(hid_t file, const std::map<std::string, Hdf5Array>& datasets, const std::string& where) {
  std::set<std::string> groups;
  for (const auto& [name, unused] : datasets) {
    ensure(name.size() > 1 && name[0] == '/' && name.back() != '/', "HDF5 dataset name without its path");
    for (size_t at = name.find('/', 1); at != std::string::npos; at = name.find('/', at + 1))
      groups.insert(name.substr(0, at));
  }
  for (const std::string& name : groups) {
    const std::string what = fmt::format("cannot write {}: group {}", where, name);
    const Handle creation(H5Pcreate(H5P_GROUP_CREATE), H5Pclose, what);
    require(H5Pset_obj_track_times(creation, 0) >= 0, "{}", what);
    const Handle group(H5Gcreate2(file, name.c_str(), H5P_DEFAULT, creation, H5P_DEFAULT), H5Gclose, what);
  }
}

}  // namespace

void write_hdf5(const fs::path& path, const Hdf5File& content) {
  constexpr size_t kGrowth = size_t(1) << 20;
  const Silence silence;
  const std::string where = path.string();
  const std::string what = fmt::format("cannot write {}", where);
  AtomicFile target(path);
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, what);
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose, what);
  // Made in memory and written by us: the library cannot recover from a full disk, and its message would not say so.
  require(H5Pset_fapl_core(access, kGrowth, false) >= 0 &&
              H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18) >= 0 &&
              H5Pset_obj_track_times(creation, 0) >= 0,
          "{}", what);
  const Handle file(H5Fcreate(where.c_str(), H5F_ACC_TRUNC, creation, access), H5Fclose, what);
  write_groups(file, content.datasets, where);
  for (const auto& [name, array] : content.datasets) write_dataset(file, name, array, where);
  {
    const Handle root(H5Gopen2(file, "/", H5P_DEFAULT), H5Gclose, what);
    for (const auto& [name, value] : content.attributes) write_attribute(root, name, value, where);
  }
  require(H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0, "{}", what);
  const ssize_t size = H5Fget_file_image(file, nullptr, 0);
  require(size > 0, "{}", what);
  std::vector<std::byte> image(static_cast<size_t>(size));
  require(H5Fget_file_image(file, image.data(), image.size()) == size, "{}", what);
  target.write(image.data(), image.size());
  target.write(hdf5_seal(image));
  target.commit();
}

}  // namespace yopo
