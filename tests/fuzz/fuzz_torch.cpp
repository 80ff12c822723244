// Any bytes as a file of torch.save: either a UserError or tensors whose every byte can be read. The checksum would
// keep the fuzzer out of the pickle, so the same bytes are also read as the pickle of a good file.
#include <cstdlib>

#include "core/error.h"
#include "formats/torch_file.h"
#include "tests/formats/torch_bytes.h"

namespace {

void read_all(const yopo::TensorView& view) {
  if (view.bytes.size() != size_t(view.count()) * size_of(view.dtype)) std::abort();
  if (!view.bytes.empty() && reinterpret_cast<uintptr_t>(view.bytes.data()) % size_of(view.dtype) != 0) std::abort();
  size_t read = 0;
  try {
    read = view.floats().size();
  } catch (const yopo::UserError&) {
    read = view.ints().size();
  }
  if (read != size_t(view.count())) std::abort();
}

void parse_file(std::span<const std::byte> bytes) {
  const auto file = yopo::TorchFile::parse(yopo::MappedFile::copy_of(bytes, "fuzz.bin"));
  if (file.names().size() != file.tensors().size()) std::abort();
  for (const auto& [name, view] : file.tensors()) {
    if (view.bytes.size() > bytes.size()) std::abort();
    read_all(view);
  }
}

/// The storages are what the corpus's pickles name: 16 fp32, and 6 bytes.
void parse_pickle(std::span<const std::byte> bytes) {
  const std::string pickle(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::string file = yopo::testing::zip_of(
      {{"m/data.pkl", pickle}, {"m/data/0", std::string(64, '\1')}, {"m/data/1", std::string(6, '\1')}});
  parse_file(std::as_bytes(std::span(file.data(), file.size())));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  for (const auto parse : {parse_file, parse_pickle}) {
    try {
      parse(bytes);
    } catch (const yopo::UserError&) {
    }
  }
  return 0;
}
