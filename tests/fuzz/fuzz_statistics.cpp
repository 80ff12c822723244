// Any arrays in a sound HDF5 file as stats.h5: either a UserError, or statistics that are written and read back as they
// are. The HDF5 library itself is not what is tested: a file whose bytes are not those written never reaches it.
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "calibration/statistics.h"
#include "formats/hdf5.h"
#include "tests/fuzz/fuzz_files.h"

namespace {

using namespace yopo;

/// Takes what it needs from the front of the bytes; zeros behind their end.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  uint8_t byte() { return left_ == 0 ? uint8_t(0) : (--left_, *data_++); }
  double number() {
    const uint8_t kind = byte();
    if (kind == 255) return NAN;
    if (kind == 254) return INFINITY;
    return kind > 240 ? -1.0 : double(kind) / 4;
  }
  std::string text() {
    std::string made;
    for (size_t count = byte() % 8; count > 0; --count) made += char(byte() | 1);
    return made;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

Hdf5Array array_of(Bytes& bytes, std::vector<int64_t> shape) {
  if (bytes.byte() > 250) shape.push_back(bytes.byte() % 3);
  int64_t count = 1;
  for (int64_t& one : shape) {
    if (bytes.byte() > 250) one = bytes.byte() % 4;
    count *= one;
  }
  Hdf5Array array{std::move(shape), std::vector<double>()};
  const uint8_t kind = bytes.byte();
  if (kind < 200) {
    std::vector<double> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(bytes.number());
    array.values = std::move(values);
  } else if (kind < 250) {
    std::vector<int64_t> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(int64_t(bytes.byte()) - 4);
    array.values = std::move(values);
  } else {
    std::vector<std::string> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(bytes.text());
    array.values = std::move(values);
  }
  return array;
}

Hdf5File file_of(Bytes bytes) {
  Hdf5File file;
  file.attributes = {{"format", "yopo-statistics"}, {"version", "1"},    {"tool_version", "x"},
                     {"fingerprint", bytes.text()}, {"queries", "text"}, {"state", "complete"}};
  if (bytes.byte() > 240) file.attributes["queries"] = bytes.text();
  const int64_t samples = 1 + bytes.byte() % 3, layers = 1 + bytes.byte() % 2, heads = 1 + bytes.byte() % 3,
                neurons = 1 + bytes.byte() % 3;
  file.datasets["/attention/ratio"] = array_of(bytes, {samples, layers, heads});
  for (const char* name : {"/ffn/abs_sum", "/ffn/square_sum", "/ffn/active", "/ffn/column_norm"})
    file.datasets[name] = array_of(bytes, {layers, neurons});
  std::vector<int64_t> rows(size_t(layers), bytes.byte());
  file.datasets["/ffn/rows"] = {{layers}, rows};
  std::vector<std::string> ids;
  std::vector<int64_t> repeats;
  for (int64_t i = 0; i < samples; ++i) ids.push_back(bytes.text()), repeats.push_back(bytes.byte() % 4);
  file.datasets["/samples/id"] = {{samples}, ids};
  if (bytes.byte() % 2 == 1) file.datasets["/samples/repeat"] = {{samples}, repeats};
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fs::path file = fuzz::folder().path() / "stats.h5", again = fuzz::folder().path() / "again.h5";
  write_hdf5(file, file_of(Bytes(data, size)));
  fuzz::refused_or([&] {
    const Statistics read = read_statistics(file);
    write_statistics(again, read);
    const Statistics other = read_statistics(again);
    if (other.ids != read.ids || other.repeats != read.repeats || other.ratio != read.ratio) std::abort();
    merge_statistics({read});
  });
  return 0;
}
