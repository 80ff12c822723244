#include "formats/hdf5.h"

// The structures that 1.10 introduced, under every later version too.
#define H5_USE_110_API
#include <hdf5.h>

#include <algorithm>
#include <set>

#include "core/dtype.h"
#include "core/error.h"

namespace yopo {

namespace {

constexpr int kMostDimensions = 32;
constexpr size_t kMostObjects = 100'000;
constexpr int kDeepest = 32;
// What fits an object header's message; longer text belongs into a dataset.
constexpr size_t kLongestAttribute = 64'000;  // bytes

// The line after the HDF5 content: this, 32 hex digits, a newline.
constexpr std::string_view kSeal = "\nyopo-hdf5 content ";
constexpr size_t kSealSize = kSeal.size() + 32 + 1;

std::string seal_of(std::span<const std::byte> content) {
  return fmt::format("{}{}\n", kSeal, Fingerprint().add(content).hex());
}

/// UserError if the file ends with a seal that its content does not have.
void check_seal(std::span<const std::byte> bytes, const std::string& where) {
  if (bytes.size() < kSealSize) return;
  const auto tail = bytes.last(kSealSize);
  const std::string_view seal(reinterpret_cast<const char*>(tail.data()), tail.size());
  if (!seal.starts_with(kSeal)) return;
  require(seal == seal_of(bytes.first(bytes.size() - kSealSize)), "{}: damaged: its content is not what was written",
          where);
}

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

struct Shape {
  std::vector<int64_t> sizes;
  int64_t count;
};
Shape shape_of(hid_t space, int64_t limit, const std::string& what) {
  const H5S_class_t kind = H5Sget_simple_extent_type(space);
  require(kind == H5S_SIMPLE || kind == H5S_SCALAR, "{}: it has no plain shape", what);
  const int rank = H5Sget_simple_extent_ndims(space);
  require(rank >= 0 && rank <= kMostDimensions, "{}: {} dimensions", what, rank);
  std::vector<hsize_t> sizes(static_cast<size_t>(rank));
  require(rank == 0 || H5Sget_simple_extent_dims(space, sizes.data(), nullptr) == rank, "{}: unreadable shape", what);
  Shape shape;
  for (const hsize_t size : sizes) {
    require(size <= hsize_t(INT64_MAX), "{}: a dimension that does not fit", what);
    shape.sizes.push_back(int64_t(size));
  }
  shape.count = element_count(shape.sizes, what);
  require(shape.count <= limit, "{}: {} elements; expected at most {}", what, shape.count, limit);
  return shape;
}

/// Splits packed fixed-length strings; padding zeros (or the terminator) end each.
std::vector<std::string> unpack(const std::string& packed, size_t width, int64_t count) {
  std::vector<std::string> texts;
  for (int64_t i = 0; i < count; ++i) {
    const std::string_view cell = std::string_view(packed).substr(size_t(i) * width, width);
    texts.emplace_back(cell.substr(0, std::min(cell.find('\0'), cell.size())));
  }
  return texts;
}

/// Variable-length text lies on a heap inside the file, wherever its pointers say: never followed.
void check_string(hid_t type, const std::string& what) {
  require(H5Tis_variable_str(type) == 0, "{}: variable-length text; expected fixed-length", what);
}

/// `bytes_left` is what of the file's size earlier datasets have not taken.
Hdf5Array read_dataset(hid_t file, const std::string& name, int64_t limit, uint64_t& bytes_left,
                       const std::string& where) {
  const std::string what = fmt::format("cannot read {}: dataset {}", where, printable(name));
  const Handle dataset(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose, what);
  const Handle space(H5Dget_space(dataset), H5Sclose, what);
  const Handle type(H5Dget_type(dataset), H5Tclose, what);
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose, what);
  const Shape shape = shape_of(space, limit, what);
  // Contiguous data takes its part of this very file: no small file can claim gigabytes, nor name another file.
  const H5D_layout_t layout = H5Pget_layout(creation);
  require((layout == H5D_CONTIGUOUS || layout == H5D_COMPACT) && H5Pget_external_count(creation) == 0,
          "{}: chunked, virtual or external data; expected contiguous", what);
  const size_t width = H5Tget_size(type);
  require(width > 0 && uint64_t(shape.count) <= bytes_left / width,
          "{}: {} elements of {} bytes are more than the file holds", what, shape.count, width);
  bytes_left -= uint64_t(shape.count) * width;
  Hdf5Array array{shape.sizes, {}};
  const auto read = [&](hid_t memory, void* into) {
    if (shape.count > 0)
      require(H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, into) >= 0, "{}: unreadable data", what);
  };
  const auto count = static_cast<size_t>(shape.count);
  switch (H5Tget_class(type)) {
    case H5T_FLOAT: {
      std::vector<double> values(count);
      read(H5T_NATIVE_DOUBLE, values.data());
      array.values = std::move(values);
      break;
    }
    case H5T_INTEGER: {
      require(H5Tget_sign(type) == H5T_SGN_2 || width < 8, "{}: unsigned 64-bit integers; expected signed", what);
      std::vector<int64_t> values(count);
      read(H5T_NATIVE_INT64, values.data());
      array.values = std::move(values);
      break;
    }
    case H5T_STRING: {
      check_string(type, what);
      std::string packed(width * count, '\0');
      read(type, packed.data());
      array.values = unpack(packed, width, shape.count);
      break;
    }
    default:
      fail("{}: expected floats, integers or text", what);
  }
  return array;
}

/// The state of one walk over a file's links. The library calls back through C, so errors travel in it.
struct Walk {
  std::vector<std::string> datasets;
  std::string error;
};
herr_t visit_link(hid_t group, const char* name, const H5L_info_t* link, void* data) {
  auto& walk = *static_cast<Walk*>(data);
  const auto stop = [&](std::string error) {
    walk.error = std::move(error);
    return herr_t(-1);
  };
  try {
    if (link->type != H5L_TYPE_HARD) return stop(fmt::format("'{}' is a soft or external link", printable(name)));
    if (std::count(name, name + std::char_traits<char>::length(name), '/') > kDeepest)
      return stop("groups nested too deep");
    H5O_info_t object;
    if (H5Oget_info_by_name2(group, name, &object, H5O_INFO_BASIC, H5P_DEFAULT) < 0)
      return stop(fmt::format("'{}' is unreadable", printable(name)));
    if (object.type == H5O_TYPE_DATASET) walk.datasets.push_back(std::string("/") + name);
    if (object.type != H5O_TYPE_DATASET && object.type != H5O_TYPE_GROUP)
      return stop(fmt::format("'{}' is neither a dataset nor a group", printable(name)));
    if (walk.datasets.size() > kMostObjects) return stop("too many datasets");
    return 0;
  } catch (const std::exception& error) {
    return -1;
  }
}

std::pair<std::string, std::string> read_attribute(hid_t root, hsize_t index, const std::string& where) {
  const std::string unreadable = fmt::format("cannot read {}: attribute {}", where, index);
  const Handle attribute(H5Aopen_by_idx(root, ".", H5_INDEX_NAME, H5_ITER_INC, index, H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose, unreadable);
  const ssize_t length = H5Aget_name(attribute, 0, nullptr);
  require(length >= 0 && length < 65'536, "{}", unreadable);
  std::string name(static_cast<size_t>(length) + 1, '\0');
  H5Aget_name(attribute, name.size(), name.data());
  name.pop_back();
  const std::string what = fmt::format("cannot read {}: attribute '{}'", where, printable(name));
  const Handle space(H5Aget_space(attribute), H5Sclose, what);
  const Handle type(H5Aget_type(attribute), H5Tclose, what);
  require(H5Tget_class(type) == H5T_STRING, "{}: expected text", what);
  shape_of(space, 1, what);
  require(H5Sget_simple_extent_npoints(space) == 1, "{}: expected one text", what);
  check_string(type, what);
  const size_t width = H5Tget_size(type);
  require(width > 0 && width <= kLongestAttribute, "{}: {} bytes; expected at most {}", what, width, kLongestAttribute);
  std::string packed(width, '\0');
  require(H5Aread(attribute, type, packed.data()) >= 0, "{}", what);
  return {name, unpack(packed, width, 1).front()};
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
  target.write(seal_of(image));
  target.commit();
}

Hdf5File read_hdf5(const fs::path& path, int64_t limit) {
  const Silence silence;
  const std::string where = path.string();
  // Opened by us first: absent and unreadable files get our messages, and the size bounds every allocation.
  const auto mapped = MappedFile::open(path);
  uint64_t bytes_left = mapped->bytes().size();
  check_seal(mapped->bytes(), where);
  const htri_t known = H5Fis_hdf5(path.c_str());
  require(known > 0, "{}: not an HDF5 file", where);
  const std::string what = fmt::format("cannot read {}: a damaged HDF5 file", where);
  const Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose, what);
  Walk walk;
  const herr_t walked = H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, visit_link, &walk);
  require(walk.error.empty(), "{}: {}", where, walk.error);
  require(walked >= 0, "{}", what);
  Hdf5File content;
  for (const std::string& name : walk.datasets)
    content.datasets.emplace(name, read_dataset(file, name, limit, bytes_left, where));
  const Handle root(H5Gopen2(file, "/", H5P_DEFAULT), H5Gclose, what);
  H5O_info_t info;
  require(H5Oget_info2(root, &info, H5O_INFO_NUM_ATTRS) >= 0, "{}", what);
  require(info.num_attrs <= kMostObjects, "{}: too many attributes", where);
  for (hsize_t i = 0; i < info.num_attrs; ++i) content.attributes.insert(read_attribute(root, i, where));
  return content;
}

}  // namespace yopo
